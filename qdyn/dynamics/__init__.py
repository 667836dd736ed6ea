"""Time evolution: one entry (`evolve`), one registry of methods."""
