"""Molecules that were drawn, judged and shown; decoders compared with each other and with published ones."""
