"""Quantum self-attention: overlaps, observables, losses, and the circuits that measure them."""
