"""What a circuit can do before it is trained: expressibility, entanglement, gradients, noise."""
