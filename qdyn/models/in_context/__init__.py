"""Predictors that learn in context."""
