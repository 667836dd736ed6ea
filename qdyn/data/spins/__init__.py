"""Spin systems as sequences: trajectories, quantum jumps and observables, from the sections of a recipe."""
