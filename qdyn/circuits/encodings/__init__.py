"""Ways to put data, positions, matrices and whole states into a circuit."""
