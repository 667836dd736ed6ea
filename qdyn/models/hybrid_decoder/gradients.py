r"""Derivatives of the decoder's scores from the values of circuits alone, as hardware would give them.

A score $S_{ij} = \mathrm{Re}\langle q_i|k_j\rangle$ is linear in $\cos\theta/2$ and $\sin\theta/2$ of every
angle of its query and of its key. These are different angles of the circuit also where they are the same
parameter, so that the parameter-shift rule has the prefactor of

$$\partial_\theta S = \frac{S(\theta + \pi/2) - S(\theta - \pi/2)}{2\sqrt2},$$

not 1/2, with which derivatives come out $\sqrt2$ too large. The angles of the conditions turn query and key
at once; there the score has frequency 1, and 1/2 is right. Simultaneous perturbation (SPSA) turns all angles
by $\pm\epsilon$ with independent signs $\Delta$, and estimates every derivative from the same two values,

$$\partial_c S \approx \Delta_c\, \frac{S(\theta + \epsilon\Delta) - S(\theta - \epsilon\Delta)}{2\epsilon},$$

without bias up to $O(\epsilon^2)$.

Source: arXiv:2502.19214, whose own shift rule has the prefactor 1/2; M. Schuld et al., Phys. Rev. A 99,
032331 (2019); J. C. Spall, IEEE Trans. Automat. Contr. 37, 332 (1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from qdyn.attention.hadamard import joint_states, register_states
from qdyn.circuits.ansatz.variational import ansatz
from qdyn.models.dropout import share_of_rows
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig


@dataclass(frozen=True)
class _Side:
    """The angles of all queries, or of all keys.

    Attributes:
        token: (B, T, A).
        position: (1 or B, T, A).
        circuit: (1 or B, 1, P).
        conditions: (B, 1, A), the same on both sides, or None.
    """

    token: Tensor
    position: Tensor
    circuit: Tensor
    conditions: Tensor | None


_Slope = tuple[Tensor, bool, str, int]
"""A derivative (B, T, T), whether it is a query's, the kind of angle, and its place."""


def measured_scores(
    config: HybridDecoderConfig,
    tokens: Int64[Tensor, "batch time"],
    token_angles: Float[Tensor, "words angles"],
    position_angles: Float[Tensor, "time angles"],
    *,
    query: Float[Tensor, " all_angles"],
    key: Float[Tensor, " all_angles"],
    conditions: Float[Tensor, "batch angles"] | None = None,
) -> Float[Tensor, "batch time time"]:
    """What `qdyn.models.hybrid_decoder.scores.quantum_scores` gives, with derivatives from further circuits.

    Args:
        config: Of the circuit; its ``gradient`` is "parameter_shift" or "spsa". The signs of "spsa" come from
            PyTorch's global generator: one for each angle of each element of each molecule, for queries and
            keys apart, and one for each angle of the query and key circuits of each molecule.
        tokens: Words of the molecules.
        token_angles: Of every word; layer by layer, then qubit by qubit.
        position_angles: Of every position.
        query: phi of all working qubits, in the same order.
        key: kappa, likewise.
        conditions: Angles of each molecule's conditions, where there are some.
    """
    token = functional.embedding(tokens, token_angles)
    told = None if conditions is None else conditions[:, None]
    queries, keys = (
        _Side(token, position_angles[None], circuit[None, None], told) for circuit in (query, key)
    )
    values = _changed(queries, Tensor.detach), _changed(keys, Tensor.detach)
    scores = _overlap(config, *values)
    slopes = _shifts if config.gradient == "parameter_shift" else _perturbations
    for slope, of_query, name, place in slopes(config, *values):
        angle = _spread(getattr(queries if of_query else keys, name)[..., place], of_query)
        # Nothing to the value, and the slope to the derivative.
        scores = scores + slope * (angle - angle.detach())
    return scores


def _shifts(config: HybridDecoderConfig, queries: _Side, keys: _Side) -> Iterator[_Slope]:
    for name in ("token", "position", "circuit"):
        for place in range(getattr(queries, name).shape[-1]):
            ahead, behind = (_overlap(config, _moved(queries, name, place, by), keys) for by in (1, -1))
            yield (ahead - behind) / math.sqrt(8), True, name, place
            ahead, behind = (_overlap(config, queries, _moved(keys, name, place, by)) for by in (1, -1))
            yield (ahead - behind) / math.sqrt(8), False, name, place
    if queries.conditions is None:
        return
    for place in range(queries.conditions.shape[-1]):
        ahead, behind = (
            _overlap(config, *(_moved(side, "conditions", place, by) for side in (queries, keys)))
            for by in (1, -1)
        )
        yield (ahead - behind) / 2, True, "conditions", place


def _perturbations(config: HybridDecoderConfig, queries: _Side, keys: _Side) -> Iterator[_Slope]:
    rows = len(queries.token)
    signs = [_changed(side, lambda angles: _signs(angles, rows)) for side in (queries, keys)]
    signs[1] = replace(signs[1], conditions=signs[0].conditions)
    ahead, behind = (
        _overlap(
            config, *(_perturbed(side, sign, by) for side, sign in zip((queries, keys), signs, strict=True))
        )
        for by in (config.spsa_step, -config.spsa_step)
    )
    slope = (ahead - behind) / (2 * config.spsa_step)
    for of_query, sign in zip((True, False), signs, strict=True):
        for field in fields(_Side):
            drawn = getattr(sign, field.name)
            if drawn is None or (field.name == "conditions" and not of_query):
                continue
            for place in range(drawn.shape[-1]):
                yield slope * _spread(drawn[..., place], of_query), of_query, field.name, place


def _signs(angles: Tensor, rows: int) -> Tensor:
    """Independent +1 and -1 for every molecule of a batch, whatever share of it is here."""
    own, total = share_of_rows(rows)
    drawn = torch.randint(0, 2, (total, *angles.shape[1:]), device=angles.device)[own]
    return 2 * drawn.to(angles.dtype) - 1


def _spread(angle: Tensor, of_query: bool) -> Tensor:
    """(B, T) of queries or keys, or (B, 1), to what multiplies scores (B, T, T)."""
    return angle[:, :, None] if of_query else angle[:, None, :]


def _changed(side: _Side, change: Callable[[Tensor], Tensor]) -> _Side:
    told = None if side.conditions is None else change(side.conditions)
    return _Side(change(side.token), change(side.position), change(side.circuit), told)


def _moved(side: _Side, name: str, place: int, by: int) -> _Side:
    angles = getattr(side, name)
    one = functional.one_hot(torch.tensor(place), angles.shape[-1]).to(angles)
    return replace(side, **{name: angles + by * math.pi / 2 * one})


def _perturbed(side: _Side, signs: _Side, by: float) -> _Side:
    told = None
    if side.conditions is not None and signs.conditions is not None:
        told = side.conditions + by * signs.conditions
    return _Side(
        side.token + by * signs.token,
        side.position + by * signs.position,
        side.circuit + by * signs.circuit,
        told,
    )


def _overlap(config: HybridDecoderConfig, queries: _Side, keys: _Side) -> Tensor:
    """Re <q_i|k_j>, (B, T, T)."""
    overlaps = _states(config, queries).conj() @ _states(config, keys).mT
    return overlaps.real if overlaps.is_complex() else overlaps


def _states(config: HybridDecoderConfig, side: _Side) -> Tensor:
    """The states of all working qubits, (B, T, 2**qubits)."""
    per_qubit = () if config.angles_per_qubit == 1 else (config.angles_per_qubit,)
    shape = (config.layers, config.register_qubits, *per_qubit)
    registers = [one for one in (side.token, side.position, side.conditions) if one is not None]
    prepared = joint_states(
        [
            register_states(angles.reshape(*angles.shape[:-1], *shape), ansatz=config.ansatz)
            for angles in registers
        ]
    )
    angles = side.circuit.reshape(-1, config.layers, config.qubits, *per_qubit)
    return prepared @ ansatz(config.ansatz).unitary(angles).mT
