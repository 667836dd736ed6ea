"""The circuit of Quantum Adaptive Self-Attention, compiled too, and those of its rivals."""
