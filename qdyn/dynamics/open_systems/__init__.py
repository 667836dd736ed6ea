"""Open systems: the Lindblad equation for density matrices, and quantum jumps for state vectors."""
