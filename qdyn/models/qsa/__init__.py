"""Predictors made of quantum self-attention: closed form, measured on circuits, projected."""
