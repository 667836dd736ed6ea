"""The decoder of molecules, its circuits' scores and gradients, and its published weights."""
