"""The attention scores of the decoder of molecules, from circuits: by tables where they factorise."""

from __future__ import annotations

from functools import reduce

import torch
from jaxtyping import Float, Inexact, Int64
from torch import Tensor
from torch.nn import functional

from qdyn.attention.hadamard import joint_states, overlap_table, register_rotations, register_states
from qdyn.circuits.ansatz.variational import ansatz
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig, PropertyAngleName


def property_angles(
    raw: Float[Tensor, "batch angles"], *, how: PropertyAngleName
) -> Float[Tensor, "batch angles"]:
    """Angles in [0, pi] from any numbers.

    Args:
        raw: What a linear map makes of the conditions.
        how: "sigmoid": each number by itself, pi / (1 + exp(-raw)). "batch_range": all of the batch by the
            linear map that takes the least of them to 0 and the largest to pi, as arXiv:2502.19214 does;
            equal numbers stay as they are. What a molecule's angles are then depends on the batch.

    Example:
        >>> property_angles(torch.tensor([[-1.0, 0.0], [1.0, 3.0]]), how="batch_range") / torch.pi
        tensor([[0.0000, 0.2500],
                [0.5000, 1.0000]])
    """
    if how == "sigmoid":
        return torch.pi * torch.sigmoid(raw)
    least, largest = raw.amin(), raw.amax()
    spread = largest - least
    return torch.where(spread > 0, torch.pi * (raw - least) / torch.where(spread > 0, spread, 1.0), raw)


def quantum_scores(
    config: HybridDecoderConfig,
    tokens: Int64[Tensor, "batch time"],
    token_angles: Float[Tensor, "words angles"],
    position_angles: Float[Tensor, "time angles"],
    *,
    query: Float[Tensor, " all_angles"],
    key: Float[Tensor, " all_angles"],
    conditions: Float[Tensor, "batch angles"] | None = None,
) -> Float[Tensor, "batch time time"]:
    """Re <q_i|k_j> of every pair of a molecule's elements, in [-1, 1].

    Circuits of one layer cost three matrix products of the size of a register; deeper ones, one of the size
    of all working qubits.

    Args:
        config: Of the circuit: qubits, layers, ansatz.
        tokens: Words of the molecules.
        token_angles: Of every word; layer by layer, then qubit by qubit.
        position_angles: Of every position.
        query: phi of all working qubits, in the same order.
        key: kappa, likewise.
        conditions: Angles of each molecule's conditions, where there are some.

    Source: arXiv:2502.19214.
    """
    per_qubit = () if config.angles_per_qubit == 1 else (config.angles_per_qubit,)
    shape = (config.layers, config.register_qubits, *per_qubit)
    registers = [token_angles, position_angles] + ([] if conditions is None else [conditions])
    states = [
        register_states(angles.reshape(*angles.shape[:-1], *shape), ansatz=config.ansatz)
        for angles in registers
    ]
    phi, kappa = (angles.reshape(config.layers, config.qubits, *per_qubit) for angles in (query, key))
    if config.layers > 1:
        return _entangled(config, tokens, states, phi, kappa)
    turns = [
        register_rotations(a, b, ansatz=config.ansatz)
        for a, b in zip(
            torch.split(phi, config.register_qubits, dim=1),
            torch.split(kappa, config.register_qubits, dim=1),
            strict=True,
        )
    ]
    words, positions = states[:2]
    factors = [
        _rows(words.conj() @ turns[0], tokens) @ _rows(words, tokens).mT,
        overlap_table(positions, turns[1], positions),
    ]
    if conditions is not None:
        same = states[2]
        factors.append((same.conj() @ turns[2] * same).sum(-1)[:, None, None])
    return _real(reduce(torch.mul, factors))


def _entangled(
    config: HybridDecoderConfig, tokens: Tensor, states: list[Tensor], phi: Tensor, kappa: Tensor
) -> Tensor:
    words, positions = states[0], states[1]
    query, key = (ansatz(config.ansatz).unitary(angles).mT for angles in (phi, kappa))
    if len(states) == 2:
        # Every pair of a word and a position once: fewer than the elements of a batch.
        steps = len(positions)
        every = joint_states([words[:, None], positions]).flatten(0, 1)
        places = tokens * steps + torch.arange(steps, device=tokens.device)
        queries, keys = _rows(every @ query, places), _rows(every @ key, places)
    else:
        every = joint_states([_rows(words, tokens), positions, states[2][:, None]])
        queries, keys = every @ query, every @ key
    return _real(queries.conj() @ keys.mT)


def _rows(table: Inexact[Tensor, "rows d"], places: Tensor) -> Tensor:
    """``table[places]``, whose derivative adds up by row much faster than that of indexing."""
    if table.is_complex():
        return torch.complex(
            functional.embedding(places, table.real), functional.embedding(places, table.imag)
        )
    return functional.embedding(places, table)


def _real(scores: Tensor) -> Tensor:
    return scores.real if scores.is_complex() else scores
