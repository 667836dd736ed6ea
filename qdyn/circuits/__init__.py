"""Circuits: gates, ansätze, encodings, and whatever runs or counts them."""
