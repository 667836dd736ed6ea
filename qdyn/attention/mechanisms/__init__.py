"""The mechanisms that a name builds, one a file, and the controls they are compared with."""
