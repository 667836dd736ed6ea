"""Attention that regresses on what a sequence has shown, in closed form and as a circuit."""
