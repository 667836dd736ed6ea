"""Losses, the training loop, checkpoints, ensembles and runs."""
