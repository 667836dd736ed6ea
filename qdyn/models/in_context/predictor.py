"""The predictor that learns in context: layers of attention that regress on the transitions seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from qdyn.attention.in_context.attention import Conjugate, Context, Descent, refined_states
from qdyn.attention.in_context.heads import (
    LARGEST_DIMENSION,
    Heads,
    feed_forward,
    partial_propagators,
    symmetry_heads,
)
from qdyn.attention.in_context.transitions import length
from qdyn.attention.qsa.readout import LOSSES, read_out
from qdyn.checks import check_choice, check_finite, check_integer, qubits_of_dimension
from qdyn.circuits.ansatz.variational import ansatz
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ConfigError
from qdyn.models.base import Predictor
from qdyn.models.context import check_context
from qdyn.models.in_context.config import InContextConfig
from qdyn.models.in_context.start import angles_of, training_transitions

# A schedule is a parabola in log2 of the number of states seen, in units of 32 states.
_SCHEDULE_TERMS = 3
# Adam moves all parameters at one pace, and schedules have further to go than the angles of V.
_PACE = 5.0


class InContextMatrices(NamedTuple):
    """What the angles stand for.

    Attributes:
        value: V, (d, d).
        scores: W_l of every block, (blocks, layers, d, d), or None.
        heads: S_h and their weights, or None for the identity alone.
        feed_forward: E_u and F_u of every block, (blocks, units, 2, d, d), or None.
    """

    value: Tensor
    scores: Tensor | None
    heads: Heads | None
    feed_forward: Tensor | None


class InContextPredictor(nn.Module, Predictor):
    """Layers of attention to transitions, a completion by unitarity, and blocks that filter noise.

    What a block computes stands in `qdyn.attention.in_context.attention`. Its numbers are schedules:
    parabolas in the logarithm of how many states have been seen, squashed to the range in which no layer can
    diverge. With phases "transport" a phase of any one state changes no forecast but by a phase.

    Args:
        config: The model section of a preset.
        metadata: Of the data: quantum states of 2^n amplitudes.
        seed: Fixes the initial parameters, with nothing else drawn from it.

    Attributes:
        config: As given.
        angles: Parameters of V; a buffer where it is not trained.
        step_logits: Schedules of the regression: sizes eta_l, (blocks, layers, 3), or for conjugate gradients
            the ridge, (blocks, 1, 3).
        momentum_logits: Schedules of beta_l, (blocks, layers, 3), or None.
        completion_logits: Schedules of the completion, like step_logits, or None.
        restoration_logit: Of gamma, (blocks,), or None.
        trust_logits: Schedules of kappa, (blocks - 1, 3), or None.
        score_angles: Parameters of W_l, (blocks, layers, *shape of the ansatz), or None.
        kernel_logits: Of the coefficients c_p, (blocks, degree + 1), or None.
        head_angles: Parameters of S_h but for the first, which is 1, (heads - 1, *shape), or None.
        head_logits: Of their weights, (heads - 1,), or None.
        unit_angles: Parameters of E_u and F_u, (blocks, units, 2, *shape), or None.
        unit_logits: Schedules of kappa_u, (blocks, units, 3), or None.

    Raises:
        ConfigError: the data are no quantum states.

    Source: ours; see docs/in_context_attention.md.

    Example:
        >>> metadata = SequenceMetadata("example", "quantum_state", 4, phase_convention="first_real")
        >>> model = InContextPredictor(InContextConfig(layers=2), metadata, seed=0)
        >>> model.rollout(torch.eye(4, dtype=torch.complex64)[None, :3], steps=5).shape
        torch.Size([1, 5, 4])
    """

    angles: Tensor

    def __init__(self, config: InContextConfig, metadata: SequenceMetadata, *, seed: int = 0) -> None:
        super().__init__()
        if metadata.kind != "quantum_state":
            raise ConfigError(
                f"Argument `model.kind` 'in_context' forecasts quantum states, but the data are of kind "
                f"{metadata.kind!r}."
            )
        several = config.heads + config.backward_heads > 1
        if several and config.head_start == "found" and metadata.dimension > LARGEST_DIMENSION:
            raise ConfigError(
                f"Argument `model.head_start` must be 'cold' for states of more than {LARGEST_DIMENSION} "
                f"amplitudes, but is 'found' for {metadata.dimension}."
            )
        self.config = config
        self.metadata = metadata
        self._held: InContextMatrices | None = None
        self._family = ansatz(config.unitaries)
        self._n_qubits = qubits_of_dimension("dimension", metadata.dimension)
        for_value, for_steps, for_scores, for_heads, for_units = (
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part,))) for part in range(5)
        )
        angles = self._initial_angles(for_value)
        if config.train_value:
            self.angles = nn.Parameter(angles)
        else:
            self.register_buffer("angles", angles)
        blocks = config.blocks

        def schedule(*shape: int, start: float, random: np.random.Generator = for_steps) -> nn.Parameter:
            logits = random.normal(scale=0.1, size=(*shape, _SCHEDULE_TERMS))
            logits[..., 0] += start
            return nn.Parameter(torch.from_numpy(logits / _PACE).float())

        def many_angles(*shape: int, random: np.random.Generator) -> Tensor:
            starts = [self._initial_angles(random) for _ in range(math.prod(shape))]
            return torch.stack(starts).reshape(*shape, *angles.shape)

        descent = config.steps == "descent"
        start = 1.5 if descent else -3.0
        self.step_logits = schedule(blocks, config.layers if descent else 1, start=start)
        self.momentum_logits = schedule(blocks, config.layers, start=-0.85) if config.momentum else None
        self.completion_logits, self.restoration_logit = None, None
        if config.completion_layers:
            self.completion_logits = schedule(blocks, config.completion_layers if descent else 1, start=start)
            self.restoration_logit = nn.Parameter(torch.full((blocks,), 2.0 / _PACE))
        self.trust_logits = schedule(blocks - 1, start=-2.0) if blocks > 1 else None
        self.score_angles = None
        if config.score_unitaries:
            self.score_angles = nn.Parameter(0.1 * many_angles(blocks, config.layers, random=for_scores))
        self.kernel_logits = None
        if config.kernel_degree:
            self.kernel_logits = nn.Parameter(torch.zeros(blocks, config.kernel_degree + 1))
        self.head_angles, self.head_logits = None, None
        if (further := config.heads + config.backward_heads - 1) > 0:
            self.head_angles = nn.Parameter(many_angles(further, random=for_heads))
            self.head_logits = nn.Parameter(torch.full((further,), -3.0 / _PACE))
        self.unit_angles, self.unit_logits = None, None
        if (units := config.feed_forward) > 0:
            self.unit_angles = nn.Parameter(many_angles(blocks, units, 2, random=for_units))
            self.unit_logits = schedule(blocks, units, start=-3.0, random=for_units)
        self.name = "in-context"
        self.label = f"in-context attention, {config.layers} layers"
        for count, name in ((blocks, "blocks"), (config.heads + config.backward_heads, "heads")):
            if count > 1:
                self.label += f", {count} {name}"

    def _initial_angles(self, generator: np.random.Generator) -> Tensor:
        return self._family.initial(
            n_qubits=self._n_qubits,
            layers=self.config.circuit_layers,
            scale=self.config.initial_angle,
            generator=generator,
        )

    def matrices(self) -> InContextMatrices:
        """V and W_l as functions of the parameters."""
        if self._held is not None:
            return self._held
        unitary = self._family.unitary
        return InContextMatrices(
            unitary(self.angles),
            None if self.score_angles is None else unitary(self.score_angles),
            self._heads(),
            None if self.unit_angles is None else unitary(self.unit_angles),
        )

    def _heads(self) -> Heads | None:
        if self.head_angles is None or self.head_logits is None:
            return None
        further = self._family.unitary(self.head_angles)
        first = torch.eye(further.shape[-1], dtype=further.dtype, device=further.device)
        logits = torch.cat([torch.zeros_like(self.head_logits[:1]), _PACE * self.head_logits])
        return Heads(
            torch.cat([first.unsqueeze(0), further]), logits.softmax(dim=-1), self.config.backward_heads
        )

    def regression(self, block: int, n_steps: int) -> Descent | Conjugate:
        """How one block regresses on sequences of ``n_steps`` states."""
        if self.config.steps == "conjugate":
            return _conjugate(self.config.layers, self.step_logits[block], n_steps)
        momentum = self.momentum_logits
        return Descent(
            sizes=2 * torch.sigmoid(_schedule(self.step_logits[block], n_steps)),
            momentum=None if momentum is None else torch.sigmoid(_schedule(momentum[block], n_steps)),
            score_unitaries=None if (scores := self.matrices().scores) is None else scores[block],
        )

    def completion(self, block: int, n_steps: int) -> Descent | Conjugate | None:
        """How one block completes its forecasts."""
        if self.completion_logits is None:
            return None
        if self.config.steps == "conjugate":
            return _conjugate(self.config.completion_layers, self.completion_logits[block], n_steps)
        return Descent(sizes=2 * torch.sigmoid(_schedule(self.completion_logits[block], n_steps)))

    def restoration(self, block: int) -> Tensor | None:
        """The exponent gamma of one block."""
        logit = self.restoration_logit
        return None if logit is None else torch.sigmoid(_PACE * logit[block])

    def strength(self, block: int, n_steps: int) -> Tensor | None:
        """kappa_u of the units of one block, (units, T)."""
        logits = self.unit_logits
        return None if logits is None else torch.sigmoid(_schedule(logits[block], n_steps))

    def trust(self, block: int, n_steps: int) -> Tensor | None:
        """How much of its forecasts one block adds to the states of the next, (T,); None for the last."""
        if self.trust_logits is None or block == len(self.trust_logits):
            return None
        return 2 * torch.sigmoid(_schedule(self.trust_logits[block], n_steps))

    def loss(self, name: str, inputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of that name of each sequence, (batch,).

        Args:
            name: "L_B", "L_A", "L_half" or "L_1".
            inputs: States (batch, T, d).
            targets: The states that follow, of the same shape.
            mask: (batch, T); transitions and steps where it is False do not count.

        Raises:
            ArgumentError: unknown name.
        """
        check_choice("loss", name, LOSSES)
        predictions = self._predictions(inputs, mask)
        return LOSSES[name](read_out(predictions, self._in_precision(targets), mask=mask))

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Teacher-forced forecasts (..., T, d), unit vectors."""
        predictions = self._predictions(inputs, mask)
        return predictions / length(predictions)

    def predict(self, context: Tensor) -> Tensor:
        """The last entry of `forecast`, without the work for those before it in the last block."""
        return self._asked(check_context(context, self.metadata), steps=1).squeeze(-2)

    @torch.no_grad()
    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """Feed forecasts back; see `Predictor.rollout`.

        What is known of the dynamics stays what ``context`` says: no forecast is learnt from.
        """
        check_integer("steps", steps, minimum=1)
        seen = check_context(context, self.metadata)
        check_finite("context", seen)
        return self.element(self._asked(seen, steps=steps)).to(seen.dtype)

    @torch.no_grad()
    def warm_start(self, dataset: SequenceDataset) -> None:
        """Start from the training transitions, in the phases that the model itself works with.

        V becomes the unitary that maps states to their successors best (Procrustes), heads become what
        symmetries are found. A free unitary takes them exactly, a circuit as well as a fit gets.
        """
        cross: Tensor | float = 0.0
        propagators = []
        for keys, values in training_transitions(dataset, self.config.phases):
            cross = cross + (values.mT @ keys.conj()).sum(dim=0)
            if self.head_angles is not None and self.config.head_start == "found":
                propagators.append(partial_propagators(keys, values))
        if self.config.warm_start and isinstance(cross, Tensor):
            left, _, right = torch.linalg.svd(cross)
            self.angles.copy_(angles_of(left @ right, self._family, self.angles))
        if propagators:
            self._start_heads(torch.cat(propagators))

    def _start_heads(self, propagators: Tensor) -> None:
        """Start the heads that symmetries were found for, all with the weight of the first."""
        assert self.head_angles is not None
        assert self.head_logits is not None
        forward, backward = self.config.heads, self.config.backward_heads
        ahead, back = symmetry_heads(propagators, forward=forward, backward=backward)
        for found, first in ((None if ahead is None else ahead[1:], 0), (back, forward - 1)):
            for place, unitary in enumerate(() if found is None else found, start=first):
                self.head_angles[place] = angles_of(unitary, self._family, self.head_angles[place])
                self.head_logits[place] = 0.0

    def _predictions(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        states = self._in_precision(inputs)
        seen = states if mask is None else states.masked_fill(~mask.unsqueeze(-1), 0.0)
        with self._hold():
            for block in range(self.config.blocks):
                known = self._context(block, seen, mask)
                predictions = self._block(block, known, seen)
                if block + 1 < self.config.blocks:
                    seen = self._refined(block, states, predictions, mask)
        return predictions

    def _asked(self, context: Tensor, *, steps: int) -> Tensor:
        """Unit forecasts (..., steps, d) of what follows ``context``, each asked of it alone."""
        states = self._in_precision(context)
        seen, last = states, self.config.blocks - 1
        found = []
        with self._hold():
            for block in range(last):
                predictions = self._block(block, self._context(block, seen, None), seen)
                seen = self._refined(block, states, predictions, None)
            known, state = self._context(last, seen, None).last(), seen[..., -1:, :]
            for _ in range(steps):
                state = self._block(last, known, state, n_steps=seen.shape[-2])
                state = state / length(state)
                found.append(state)
        return torch.cat(found, dim=-2)

    def _context(self, block: int, seen: Tensor, mask: Tensor | None) -> Context:
        return Context.of(
            seen,
            phases=self.config.phases,
            symmetries=self.config.symmetries,
            heads=self.matrices().heads,
            kernel=None if self.kernel_logits is None else self.kernel_logits[block].softmax(dim=-1),
            mask=mask,
        )

    def _block(self, block: int, known: Context, x: Tensor, *, n_steps: int | None = None) -> Tensor:
        """Forecasts of one block; where ``n_steps`` is given, of one state asked after so many."""
        one = n_steps is not None
        n_steps = x.shape[-2] if n_steps is None else n_steps
        regression, completion = self.regression(block, n_steps), self.completion(block, n_steps)
        if one:
            regression, completion = regression.last(), None if completion is None else completion.last()
        predictions = known.forecast(
            x,
            self.matrices().value,
            regression,
            completion=completion,
            restoration=self.restoration(block),
        )
        units, strength = self.matrices().feed_forward, self.strength(block, n_steps)
        if units is None or strength is None:
            return predictions
        return feed_forward(
            predictions, x, units[block, :, 0], units[block, :, 1], strength[:, -1:] if one else strength
        )

    def _refined(self, block: int, states: Tensor, predictions: Tensor, mask: Tensor | None) -> Tensor:
        trust = self.trust(block, states.shape[-2])
        assert trust is not None
        return refined_states(states, predictions, trust, mask=mask)

    def _in_precision(self, states: Tensor) -> Tensor:
        return states.to(self.step_logits.dtype.to_complex())

    @contextmanager
    def _hold(self) -> Iterator[InContextMatrices]:
        """Build the matrices once for all that happens inside."""
        outer = self._held
        self._held = self.matrices()
        try:
            yield self._held
        finally:
            self._held = outer


def _conjugate(layers: int, logits: Tensor, n_steps: int) -> Conjugate:
    # exp of a bounded number: a ridge of 1e-6 is none in single precision, and one of 20 forbids everything.
    return Conjugate(layers, torch.exp(_schedule(logits[0], n_steps).clamp(-14.0, 3.0)))


def _schedule(coefficients: Tensor, n_steps: int) -> Tensor:
    """(..., T): 5 sum_k a_k u_j^k with u_j = log2(j + 1) / 5 from coefficients (..., 3)."""
    seen = torch.arange(1, n_steps + 1, dtype=coefficients.dtype, device=coefficients.device)
    place = torch.log2(seen) / math.log2(32)
    powers = torch.stack([place**power for power in range(_SCHEDULE_TERMS)])
    return _PACE * (coefficients @ powers)
