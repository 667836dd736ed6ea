"""The training loss L_B measured on circuits: two observables, mu and zeta, and their ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from qdyn.attention.qsa.circuit import qsa_circuit
from qdyn.circuits.executors.execution import CircuitResult, run_circuit
from qdyn.circuits.executors.program import Program
from qdyn.circuits.executors.shots import log_ratio_interval
from qdyn.errors import ArgumentError

Interval = tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]


@dataclass(frozen=True)
class MeasuredLoss:
    """What two circuits tell about L_B = -log F, F = (T+1)/(2T) mu/zeta.

    Attributes:
        mu: the measured probability.
        zeta: the measured probability.
        fidelity: F.
        loss_b: L_B; finite also where no shot hit mu.
        mu_interval: 95 % confidence interval; None, like the others, for an exact run.
        fidelity_interval: of F.
        loss_b_interval: of L_B.
    """

    mu: Tensor
    zeta: Tensor
    fidelity: Tensor
    loss_b: Tensor
    mu_interval: Interval | None
    fidelity_interval: Interval | None
    loss_b_interval: Interval | None


def measure_loss(
    programs: tuple[Program, Program],
    *,
    steps: int,
    shots: int | tuple[int, int] | None = None,
    seed: int | None = None,
    **run: Any,
) -> MeasuredLoss:
    """Measure L_B by running the circuits of mu and of zeta.

    Args:
        programs: the two circuits, from `loss_programs`.
        steps: T, the predictions in a sequence.
        shots: for each circuit, or (for mu, for zeta), see qdyn.circuits.executors.shots.shots_for_loss; None
            for exact values.
        seed: seed of the shots.
        run: further arguments of `run_circuit`: backend, target, noise, gradient, ...

    Returns:
        The loss, differentiable as `run_circuit` makes its values, with intervals where shots were taken.

    Raises:
        ArgumentError: shots for one circuit only, or what `run_circuit` refuses.

    Example: a sequence that stands still under identities has mu = 1.
        >>> still = torch.tensor([[1.0, 0.0]] * 4)
        >>> angles = torch.zeros(1, 1, 3)
        >>> programs = loss_programs(still, still, angles, angles, kernel="monomial", degree=1)
        >>> loss = measure_loss(programs, steps=4)
        >>> [round(float(number), 4) for number in (loss.mu, loss.zeta, loss.fidelity)]
        [1.0, 0.75, 0.8333]
    """
    share = shots if isinstance(shots, tuple) else (shots, shots)
    seeds = [None, None] if seed is None else np.random.SeedSequence(seed).generate_state(2).tolist()
    mu, zeta = (
        run_circuit(program, shots=own_shots, seed=own_seed, **run)
        for program, own_shots, own_seed in zip(programs, share, seeds, strict=True)
    )
    return loss_from_results(mu, zeta, steps=steps)


def loss_programs(
    x: Tensor, y: Tensor, query_key_angles: Tensor, value_angles: Tensor, **circuit: Any
) -> tuple[Program, Program]:
    """The circuits of mu and of zeta; the arguments are those of `qsa_circuit`."""
    if "observable" in circuit:
        raise ArgumentError("Argument `circuit` must not name an observable: the loss needs mu and zeta.")
    mu = qsa_circuit(x, y, query_key_angles, value_angles, observable="mu", **circuit)
    circuit.pop("phases", None)
    return mu, qsa_circuit(x, y, query_key_angles, value_angles, observable="zeta", **circuit)


def loss_from_results(mu: CircuitResult, zeta: CircuitResult, *, steps: int) -> MeasuredLoss:
    """L_B from a run of each circuit, for sequences of ``steps`` predictions."""
    factor = (steps + 1) / (2 * steps)
    if mu.shots is None and zeta.shots is None:
        fidelity = factor * mu.value / zeta.value
        return MeasuredLoss(mu.value, zeta.value, fidelity, -fidelity.log(), None, None, None)
    if mu.shots is None or zeta.shots is None:
        raise ArgumentError(
            f"Argument `shots` must give both circuits shots or none, but is {(mu.shots, zeta.shots)}."
        )
    counts = [result.value.detach().numpy() * result.shots for result in (mu, zeta)]
    _, lower, upper = log_ratio_interval((counts[0], counts[1]), (mu.shots, zeta.shots))
    # The estimate of log_ratio_interval, written so that gradients flow.
    smooth_mu = (mu.value * mu.shots + 0.5) / (mu.shots + 0.5)
    smooth_zeta = (zeta.value * zeta.shots + 0.5) / (zeta.shots + 0.5)
    log_fidelity = math.log(factor) + smooth_mu.log() - smooth_zeta.log()
    low, high = (torch.from_numpy(end) + math.log(factor) for end in (lower, upper))
    return MeasuredLoss(
        mu.value,
        zeta.value,
        log_fidelity.exp(),
        -log_fidelity,
        mu.interval,
        (low.exp(), high.exp()),
        (-high, -low),
    )
