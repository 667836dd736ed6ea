r"""The decoder one element after another: what its attention needs of the elements before is kept.

A forecast of element j + 1 needs of the elements up to j only their keys $k_i$ and values $v_i$,

$$S_{ji} = c\,\mathrm{Re}\langle q_j|k_i\rangle, \qquad x_j \leftarrow x_j + W_o \sum_{i \le j} A_{ji} v_i,$$

so that a sequence of T elements costs T forecasts of one element in place of T of up to T. Every score of the
decoder has this form. For the circuit, q and k are its states: those of the registers of token and position
(and conditions), taken by the query and the key circuit.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from qdyn.attention.hadamard import joint_states, register_states
from qdyn.circuits.ansatz.variational import ansatz
from qdyn.errors import ArgumentError
from qdyn.models.hybrid_decoder.scores import property_angles

if TYPE_CHECKING:
    from qdyn.models.hybrid_decoder.decoder import HybridDecoder

CACHED_SCORES = ("classical", "classical_eq", "quantum", "uniform")
"""Scores that a `PreparedDecoder` knows the queries and keys of."""


class PreparedDecoder:
    """A decoder ready to continue sequences under one condition, in double precision.

    Double precision leaves next to nothing of a sample to rounding: one number in 10^15 drawn falls so near
    to an edge between two words that another order of summation could change the word.

    Args:
        decoder: Of a score in `CACHED_SCORES`; it is copied.
        conditions: Raw values of ``decoder.config.conditions``, of every sequence; None without conditions.
    """

    def __init__(
        self, decoder: HybridDecoder, conditions: Float[Tensor, " conditions"] | None = None
    ) -> None:
        self.decoder = copy.deepcopy(decoder).double().eval()
        told = None if conditions is None else conditions.to(self.decoder.position_embed)[None]
        with torch.no_grad():
            self.embedded = None if told is None else self.decoder.physchem_embed(told)[0]
            self._prepare_scores(told)

    def begin(self, rows: int) -> DecoderCache:
        """A cache for so many sequences of which nothing has been seen."""
        return DecoderCache(self, rows)

    @property
    def scale(self) -> float:
        """c, what an overlap of query and key is multiplied by."""
        root = math.sqrt(self.decoder.config.width)
        return root if self.decoder.config.score == "quantum" else 1 / root

    def queries_and_keys(
        self, words: Int64[Tensor, " rows"], hidden: Float[Tensor, "rows width"], place: int
    ) -> tuple[Tensor, Tensor] | None:
        """Queries and keys of elements at one position, (rows, d); None where all scores are equal."""
        decoder = self.decoder
        attention = decoder.block.attention
        if decoder.config.score == "uniform":
            return None
        if decoder.config.score == "classical":
            return attention.query(hidden), attention.key(hidden)
        if decoder.config.score == "classical_eq":
            z = decoder.reduced_token_embed(words) + decoder.reduced_position_embed[0, place]
            if self._reduced is not None:
                z = z + self._reduced
            return attention.query(z), attention.key(z)
        states = joint_states([self._words[words], self._places[place], *self._told])
        return states @ self._query, states @ self._key

    def _prepare_scores(self, told: Tensor | None) -> None:
        decoder = self.decoder
        config = decoder.config
        if config.score == "classical_eq":
            self._reduced = None if told is None else decoder.reduced_physchem_embed(told)[0]
        if config.score != "quantum":
            return
        per_qubit = () if config.angles_per_qubit == 1 else (config.angles_per_qubit,)
        shape = (config.layers, config.register_qubits, *per_qubit)

        def states(angles: Tensor) -> Tensor:
            return register_states(angles.reshape(*angles.shape[:-1], *shape), ansatz=config.ansatz)

        self._words = states(decoder.token_embed_quantum_parameters.weight)
        self._places = states(decoder.position_embed_quantum_parameters[0])
        self._told = []
        if told is not None:
            raw = decoder.physchem_embed_quantum_parameters(told)
            self._told = [states(property_angles(raw, how=config.property_angles))[0]]
        attention = decoder.block.attention
        self._query, self._key = (
            ansatz(config.ansatz).unitary(angles.reshape(config.layers, config.qubits, *per_qubit)).mT
            for angles in (attention.query_angles, attention.key_angles)
        )


class DecoderCache:
    """Keys and values of the elements that some sequences have had so far."""

    def __init__(self, prepared: PreparedDecoder, rows: int) -> None:
        self._prepared = prepared
        self._seen = 0
        config, like = prepared.decoder.config, prepared.decoder.position_embed
        self._values = like.new_zeros(rows, config.block, config.width)
        self._keys: Tensor | None = None

    def step(self, words: Int64[Tensor, " rows"]) -> Float[Tensor, "rows words"]:
        """Take one more word of each sequence, and give the logits of the next.

        Raises:
            ArgumentError: the sequences have as many elements as the decoder has positions.
        """
        prepared, place = self._prepared, self._seen
        decoder = prepared.decoder
        if place == decoder.config.block:
            raise ArgumentError(
                f"Argument `elements` must be at most {place + 1}, since there are positions for {place}."
            )
        block, attention = decoder.block, decoder.block.attention
        words = words.to(self._values.device)
        x = decoder.token_embed(words) + decoder.position_embed[0, place]
        if prepared.embedded is not None:
            x = x + prepared.embedded
        hidden = block.layer_norm1(x)
        self._values[:, place] = attention.value(hidden)
        self._seen += 1
        values = self._values[:, : self._seen]
        weights = self._weights(words, hidden, place)
        mixed = values.mean(1) if weights is None else (weights[:, None] @ values)[:, 0]
        x = x + attention.projection(mixed)
        x = x + block.mlp(block.layer_norm2(x))
        return decoder.output(decoder.layer_norm(x))

    def keep(self, rows: Int64[Tensor, " kept"]) -> None:
        """Go on with these sequences alone."""
        rows = rows.to(self._values.device)
        self._values = self._values[rows]
        if self._keys is not None:
            self._keys = self._keys[rows]

    def _weights(self, words: Tensor, hidden: Tensor, place: int) -> Tensor | None:
        found = self._prepared.queries_and_keys(words, hidden, place)
        if found is None:
            return None
        query, key = found
        if self._keys is None:
            self._keys = key.new_zeros(len(key), self._values.shape[1], key.shape[1])
        self._keys[:, place] = key
        overlaps = (self._keys[:, : self._seen] @ query.conj()[:, :, None])[..., 0]
        scores = overlaps.real if overlaps.is_complex() else overlaps
        return (self._prepared.scale * scores).softmax(-1)
