"""Predictors that need no gradient training, behind the same interface as the trained ones."""
