"""The trajectories behind the table of theory/qsa.md, section 9: same recipe, same random numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from qdyn.data.sequences import SequenceDataset

N_SITES, N_STEPS, COUNT, TIME_STEP = 4, 32, 384, 0.35


def ising_matrices(n_sites: int) -> tuple[np.ndarray, np.ndarray]:
    """sum_i Z_i Z_{i+1} and sum_i X_i, by Kronecker products."""
    pauli = {"Z": np.diag([1.0, -1.0]), "X": np.array([[0.0, 1.0], [1.0, 0.0]]), "1": np.eye(2)}

    def string(letters: list[str]) -> np.ndarray:
        matrix = np.eye(1)
        for letter in letters:
            matrix = np.kron(matrix, pauli[letter])
        return matrix

    ones = ["1"] * n_sites
    zz = sum(string([*ones[:i], "Z", "Z", *ones[i + 2 :]]) for i in range(n_sites - 1))
    x = sum(string([*ones[:i], "X", *ones[i + 1 :]]) for i in range(n_sites))
    return np.asarray(zz), np.asarray(x)


@pytest.fixture(scope="session")
def section_nine() -> Callable[[str], SequenceDataset]:
    """The dataset in a phase convention: 256 training and 128 test trajectories."""
    d = 2**N_SITES
    generator = np.random.default_rng(7)
    states = generator.standard_normal((COUNT, d)) + 1j * generator.standard_normal((COUNT, d))
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    coupling, field = np.random.default_rng(8).uniform(0.2, 2.0, (COUNT, 2)).T
    zz, x = ising_matrices(N_SITES)
    energies, vectors = np.linalg.eigh(-(coupling[:, None, None] * zz + field[:, None, None] * x))
    times = TIME_STEP * np.arange(N_STEPS + 1)
    phases = np.exp(-1j * times[:, None] * energies[:, None, :])
    evolved = np.einsum("nab,nb,ntb->nta", vectors, np.einsum("nba,nb->na", vectors, states), phases)

    def dataset(phase_convention: str) -> SequenceDataset:
        return SequenceDataset.from_arrays(
            evolved,
            kind="quantum_state",
            name="section 9",
            phase_convention=phase_convention,  # type: ignore[arg-type]
            times=times,
            conditions={"coupling": coupling, "field": field},
            splits={"train": (0, 256), "test": (256, 384)},
            units={"time": "1/J"},
            recipe={
                "hamiltonian": {"model": "transverse_field_ising", "n_sites": N_SITES, "periodic": False}
            },
        )

    return dataset
