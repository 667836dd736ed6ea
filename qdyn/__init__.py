"""qdyn: model quantum dynamics with sequence models.

One path: a spin-chain Hamiltonian gives trajectories, trajectories give a sequence dataset, a predictor built
from (quantum) attention forecasts the next state, and the forecast is judged by its fidelity beside baselines
that need no training.

The public names below are resolved on first use, so that ``import qdyn`` costs little more than
``import torch``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qdyn import attention as attention
    from qdyn.attention.qasa.adapter import qasa_circuit as qasa_circuit
    from qdyn.attention.qasa.adapter import qasa_expectations as qasa_expectations
    from qdyn.attention.qsa.circuit import qsa_circuit as qsa_circuit
    from qdyn.attention.qsa.observables import QSAObservables as QSAObservables
    from qdyn.attention.qsa.observables import qsa_observables as qsa_observables
    from qdyn.circuits.executors.execution import run_circuit as run_circuit
    from qdyn.data.generation.generate import generate as generate
    from qdyn.data.load import load_dataset as load_dataset
    from qdyn.data.sequences import Batch as Batch
    from qdyn.data.sequences import SequenceDataset as SequenceDataset
    from qdyn.dynamics.evolve import evolve as evolve
    from qdyn.dynamics.open_systems.density_trajectory import DensityTrajectory as DensityTrajectory
    from qdyn.dynamics.open_systems.jumps import quantum_jumps as quantum_jumps
    from qdyn.dynamics.open_systems.lindblad import evolve_open as evolve_open
    from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState as MatrixProductState
    from qdyn.dynamics.tensor_networks.mps import mps as mps
    from qdyn.dynamics.trajectory import Trajectory as Trajectory
    from qdyn.dynamics.trotter import trotter as trotter
    from qdyn.dynamics.trotter_circuits import trotter_circuit as trotter_circuit
    from qdyn.errors import QdynError as QdynError
    from qdyn.evaluation.evaluate import evaluate as evaluate
    from qdyn.models.qsa.predictor import QSAPredictor as QSAPredictor
    from qdyn.quantum.channels import decay as decay
    from qdyn.quantum.channels import dephasing as dephasing
    from qdyn.quantum.channels import depolarising as depolarising
    from qdyn.quantum.channels import excitation as excitation
    from qdyn.quantum.drives import DrivenHamiltonian as DrivenHamiltonian
    from qdyn.quantum.drives import GaussianDrive as GaussianDrive
    from qdyn.quantum.drives import SampledDrive as SampledDrive
    from qdyn.quantum.hamiltonians import TransverseFieldIsing as TransverseFieldIsing
    from qdyn.quantum.lattices import chain_bonds as chain_bonds
    from qdyn.quantum.lattices import ladder_bonds as ladder_bonds
    from qdyn.quantum.lattices import square_bonds as square_bonds
    from qdyn.quantum.operator_means import operator_mean as operator_mean
    from qdyn.quantum.pauli_sum import PauliSum as PauliSum
    from qdyn.quantum.product_states import ProductStates as ProductStates
    from qdyn.quantum.sampling import samples as samples
    from qdyn.quantum.spin_models import XXZ as XXZ
    from qdyn.quantum.spin_models import LongRangeIsing as LongRangeIsing
    from qdyn.quantum.spin_models import MixedFieldIsing as MixedFieldIsing
    from qdyn.quantum.states import basis_state as basis_state
    from qdyn.quantum.states import fidelity as fidelity
    from qdyn.quantum.states import haar_random_states as haar_random_states
    from qdyn.quantum.states import product_state as product_state
    from qdyn.quantum.states import random_product_states as random_product_states
    from qdyn.training.run import Run as Run
    from qdyn.training.run import load_run as load_run
    from qdyn.training.train import train as train

_HOME_OF = {
    "Batch": "qdyn.data.sequences",
    "DensityTrajectory": "qdyn.dynamics.open_systems.density_trajectory",
    "DrivenHamiltonian": "qdyn.quantum.drives",
    "GaussianDrive": "qdyn.quantum.drives",
    "LongRangeIsing": "qdyn.quantum.spin_models",
    "MatrixProductState": "qdyn.dynamics.tensor_networks.matrix_product_state",
    "MixedFieldIsing": "qdyn.quantum.spin_models",
    "PauliSum": "qdyn.quantum.pauli_sum",
    "ProductStates": "qdyn.quantum.product_states",
    "QSAObservables": "qdyn.attention.qsa.observables",
    "QSAPredictor": "qdyn.models.qsa.predictor",
    "QdynError": "qdyn.errors",
    "Run": "qdyn.training.run",
    "SampledDrive": "qdyn.quantum.drives",
    "SequenceDataset": "qdyn.data.sequences",
    "Trajectory": "qdyn.dynamics.trajectory",
    "TransverseFieldIsing": "qdyn.quantum.hamiltonians",
    "XXZ": "qdyn.quantum.spin_models",
    "basis_state": "qdyn.quantum.states",
    "chain_bonds": "qdyn.quantum.lattices",
    "decay": "qdyn.quantum.channels",
    "dephasing": "qdyn.quantum.channels",
    "depolarising": "qdyn.quantum.channels",
    "evaluate": "qdyn.evaluation.evaluate",
    "evolve": "qdyn.dynamics.evolve",
    "evolve_open": "qdyn.dynamics.open_systems.lindblad",
    "excitation": "qdyn.quantum.channels",
    "fidelity": "qdyn.quantum.states",
    "generate": "qdyn.data.generation.generate",
    "haar_random_states": "qdyn.quantum.states",
    "ladder_bonds": "qdyn.quantum.lattices",
    "load_dataset": "qdyn.data.load",
    "load_run": "qdyn.training.run",
    "mps": "qdyn.dynamics.tensor_networks.mps",
    "operator_mean": "qdyn.quantum.operator_means",
    "product_state": "qdyn.quantum.states",
    "qasa_circuit": "qdyn.attention.qasa.adapter",
    "qasa_expectations": "qdyn.attention.qasa.adapter",
    "qsa_circuit": "qdyn.attention.qsa.circuit",
    "qsa_observables": "qdyn.attention.qsa.observables",
    "quantum_jumps": "qdyn.dynamics.open_systems.jumps",
    "random_product_states": "qdyn.quantum.states",
    "run_circuit": "qdyn.circuits.executors.execution",
    "samples": "qdyn.quantum.sampling",
    "square_bonds": "qdyn.quantum.lattices",
    "train": "qdyn.training.train",
    "trotter": "qdyn.dynamics.trotter",
    "trotter_circuit": "qdyn.dynamics.trotter_circuits",
}

_ROOMS = ("attention",)

__all__ = ["__version__", *_ROOMS, *sorted(_HOME_OF)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"qdyn.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'qdyn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_HOME_OF})
