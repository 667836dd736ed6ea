"""Variational unitaries: as matrices applied to states, as layers, as circuits of gates."""
