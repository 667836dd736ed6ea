"""Conventions, states, Hamiltonians and observables; imports nothing of qdyn but the ground."""
