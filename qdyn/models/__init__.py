"""Embeddings, predictors and baselines."""
