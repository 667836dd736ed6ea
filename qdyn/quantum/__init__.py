"""Conventions, states, operators and circuits; imports nothing of qdyn but errors and checks."""
