"""Attention mechanisms compared with each other and with their controls."""
