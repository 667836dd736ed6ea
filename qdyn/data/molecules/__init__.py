"""Molecules as sequences of tokens: from files, QM9, enumerated; their properties and graphs."""
