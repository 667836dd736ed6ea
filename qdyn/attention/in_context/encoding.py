r"""A block of in-context attention as a circuit that encodes its forecasts, z_j / Lambda_j, in zeros.

The forecast of step j is a linear operator on x_j, made of the projections |x_i><x_i| and the carriers
|x_{i+1}><x_i| of the transitions seen (`qdyn.attention.in_context.attention`). Both are differences of
unitaries, with R = 1 - 2|0><0| between loads,

    |b><a| = (L_b L_a^dagger - L_b R L_a^dagger) / 2,      1 - 2|a><a| = L_a R L_a^dagger,

so that every layer is a linear combination of unitaries. Registers, in order (M transitions, with the images
that symmetries and heads add):

    select     of the caller      the step j
    direct     0 or 1             1: what comes is not a forecast but a state, to which forecasts are mixed
    answer     L                  1 at place l: the answer was given at layer l
    pass       L, 0 if no ridge   1 at place l: V moved on what the ridge kept back at layer l
    stop       M', 0 if no ridge  the same for the M' layers of the completion
    K_l        log2 M, and 1      which transition layer l looks at, and whether R acts; L + M' of them
    unit       log2(units + 1)    which unit of the feed-forward acts; 0: none
    loads      of nested blocks   the ancillas of each load, where what is loaded is a circuit's own result
    A          n                  the vector that the layers work on

1. For every j, the branches with their weights, K_l with those of the transitions before j, the units.
2. Load x_j on A. Layer l: un-load x_i from A, R, load x_i again, or x_{i+1} where it answers.
3. Where no answer was given: V, then the layers of the completion, with x_{i+1} in place of x_i.
4. Where a unit acts: E, then 1 - 2|x_j><x_j|, then F.
5. Un-prepare what was prepared, where signs and phases enter. Where all that is 0, A holds z_j / Lambda_j.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from qdyn.attention.in_context.steps import PlainSteps

#: The registers that tell branches apart, in order.
BRANCH_REGISTERS = ("direct", "answer", "pass", "stop")


@dataclass(frozen=True)
class Loads:
    """Vectors that a register's number selects, each put on the target with an amplitude 1/price.

    Attributes:
        states: (S, d), unit vectors.
        prices: (S,); 1 where the load is exact.
        encoding: The circuit that makes them, its result in zeros; None loads the states themselves.
    """

    states: Tensor
    prices: Tensor
    encoding: Encoding | None = None

    def rows(self, numbers: Tensor, *, phases: Tensor | None = None) -> Loads:
        """The loads of those numbers, in that order, turned by ``phases``."""
        phases = torch.ones(len(numbers), dtype=self.states.dtype) if phases is None else phases
        return Loads(
            self.states[numbers] * phases.unsqueeze(-1),
            self.prices[numbers],
            None if self.encoding is None else self.encoding.rows(numbers, phases),
        )

    def padded(self, count: int) -> Loads:
        """As many as that; what is added is never met."""
        return self.rows(
            torch.nn.functional.pad(torch.arange(len(self.states)), (0, count - len(self.states)))
        )

    def followed_by(self, other: Loads) -> Loads:
        """Those of this, then those of another with the same keys and layers."""
        encoding = None
        if self.encoding is not None and other.encoding is not None:
            encoding = self.encoding.followed_by(other.encoding)
        return Loads(torch.cat([self.states, other.states]), torch.cat([self.prices, other.prices]), encoding)

    @property
    def n_ancillas(self) -> int:
        """Qubits that a load needs beside select and target."""
        return 0 if self.encoding is None else self.encoding.n_ancillas


@dataclass(frozen=True)
class Encoding:
    """The numbers of one block as a circuit, for S values of the select register (steps, if nothing else).

    Attributes:
        x: What the layers begin with, of length S.
        keys: x_i and its images, of length M.
        values: x_{i+1}.
        seen: w_ji, (S, M): the weight of transition i at step j.
        unitary: V.
        regression: eta (L, S) and ridge (S,).
        completion: theta (M', S) and ridge (S,).
        gain: Factor on what V moved, (S,).
        phase: e^{i alpha_j} of V, (S,).
        units: E_u and F_u, (U, 2, d, d).
        strength: kappa_u >= 0, (U, S).
        trust: Factor on the forecast, (S,), of modulus and phase.
        scale: Factor on the whole, (S,), of modulus and phase.
        mixed: The states that forecasts are added to, (S, d), or None: forecasts alone.
    """

    x: Loads
    keys: Loads
    values: Loads
    seen: Tensor
    unitary: Tensor
    regression: PlainSteps
    completion: PlainSteps
    gain: Tensor
    phase: Tensor
    units: Tensor
    strength: Tensor
    trust: Tensor
    scale: Tensor
    mixed: Tensor | None = None

    def rows(self, numbers: Tensor, phases: Tensor) -> Encoding:
        """The same for other values of the select register, turned by ``phases``."""
        return replace(
            self,
            x=self.x.rows(numbers),
            seen=self.seen[numbers],
            regression=PlainSteps(*(one[..., numbers] for one in self.regression)),
            completion=PlainSteps(*(one[..., numbers] for one in self.completion)),
            gain=self.gain[numbers],
            phase=self.phase[numbers],
            strength=self.strength[:, numbers],
            trust=self.trust[numbers],
            scale=self.scale[numbers] * phases,
            mixed=None if self.mixed is None else self.mixed[numbers],
        )

    def followed_by(self, other: Encoding) -> Encoding:
        """The values of the select register of this, then those of another with the same keys and units."""

        def both(one: Tensor, two: Tensor) -> Tensor:
            return torch.cat([one, two], dim=-1)

        pairs = ((self.regression, other.regression), (self.completion, other.completion))
        regression, completion = (
            PlainSteps(both(one.sizes, two.sizes), both(one.ridge, two.ridge)) for one, two in pairs
        )
        return replace(
            self,
            x=self.x.followed_by(other.x),
            seen=torch.cat([self.seen, other.seen]),
            regression=regression,
            completion=completion,
            gain=both(self.gain, other.gain),
            phase=both(self.phase, other.phase),
            strength=both(self.strength, other.strength),
            trust=both(self.trust, other.trust),
            scale=both(self.scale, other.scale),
            mixed=None if self.mixed is None or other.mixed is None else torch.cat([self.mixed, other.mixed]),
        )

    @cached_property
    def branches(self) -> tuple[Tensor, list[int]]:
        """Complex weights (S, branches), and the number that stands for each on the branch registers."""
        n_answers = len(self.regression.sizes)
        so_far = self.x.prices
        answered, passed, stopped = [], [], []
        carried = (self.seen * self.keys.prices * self.values.prices).sum(dim=-1)
        for layer, size in enumerate(self.regression.sizes):
            answered.append((so_far * size * carried + 0j, self._place("answer", layer)))
            if self.n_passes:
                passed.append((so_far * size * self.regression.ridge, self._place("pass", layer)))
            so_far = so_far * self.layer_price(layer)
        passed.append((so_far, 0))
        so_far = torch.ones_like(so_far)
        for layer, size in enumerate(self.completion.sizes):
            if self.n_stops:
                stopped.append((so_far * size * self.completion.ridge, self._place("stop", layer)))
            so_far = so_far * self.layer_price(n_answers + layer)
        stopped.append((so_far, 0))
        moved = [
            (one * two * self.gain * self.phase, first + second)
            for one, first in passed
            for two, second in stopped
        ]
        weights, places = zip(*answered, *moved, strict=True)
        found = torch.stack(weights, dim=-1) * self.trust.unsqueeze(-1)
        if self.mixed is not None:
            # The units act on forecasts alone, and multiply their price.
            found = torch.cat([found * self.unit_price.unsqueeze(-1), torch.ones_like(found[:, :1])], dim=-1)
            places = (*places, self._place("direct", 0))
        return found * self.scale.unsqueeze(-1), list(places)

    @property
    def unit_price(self) -> Tensor:
        """1 + sum_u kappa_u, (S,)."""
        return 1 + self.strength.sum(dim=0)

    @property
    def prices(self) -> Tensor:
        """Lambda, (S,): the sum of the moduli of all weights."""
        total = self.branches[0].abs().sum(dim=-1)
        return total if self.mixed is not None else total * self.unit_price

    def layer_price(self, layer: int) -> Tensor:
        """|1 - eta lambda - eta n/2| + eta n/2 with n the transitions seen, (S,)."""
        return self.projection(layer).abs().sum(dim=-1) + self.kept(layer).abs()

    def kept(self, layer: int) -> Tensor:
        """The weight of the identity in a layer, (S,)."""
        size, ridge = self.steps_of(layer)
        return 1 - size * ridge - self.projection(layer).sum(dim=-1)

    def projection(self, layer: int) -> Tensor:
        """The weights of the reflections in a layer, eta w/2, (S, M)."""
        loads = self.keys if layer < len(self.regression.sizes) else self.values
        return self.steps_of(layer)[0].unsqueeze(-1) * self.seen * loads.prices.square() / 2

    def carrier(self, layer: int) -> Tensor:
        """The weights of both halves of an answer, eta w/2, (S, M)."""
        return self.steps_of(layer)[0].unsqueeze(-1) * self.seen * (self.keys.prices * self.values.prices) / 2

    def steps_of(self, layer: int) -> tuple[Tensor, Tensor]:
        """Size and ridge of one layer of the regression or, after those, of the completion, (S,)."""
        n_answers = len(self.regression.sizes)
        one = self.regression if layer < n_answers else self.completion
        return one.sizes[layer if layer < n_answers else layer - n_answers], one.ridge

    @property
    def n_passes(self) -> int:
        """Qubits of the register pass."""
        return len(self.regression.sizes) if bool((self.regression.ridge > 0).any()) else 0

    @property
    def n_stops(self) -> int:
        """Qubits of the register stop."""
        return len(self.completion.sizes) if bool((self.completion.ridge > 0).any()) else 0

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Qubits of each ancilla register, in order."""
        n_answers, n_layers = (
            len(self.regression.sizes),
            len(self.regression.sizes) + len(self.completion.sizes),
        )
        index = max(1, (len(self.keys.states) - 1).bit_length())
        looks = {f"K_{layer}": index + 1 for layer in range(n_layers)}
        loads = {f"load_{place}": self.x.n_ancillas for place in range(n_layers + 1)}
        return {
            "direct": int(self.mixed is not None),
            "answer": n_answers,
            "pass": self.n_passes,
            "stop": self.n_stops,
            **looks,
            "unit": len(self.units).bit_length(),
            **loads,
        }

    @property
    def n_ancillas(self) -> int:
        """Qubits beside select and target."""
        return sum(self.sizes.values())

    @property
    def n_branch_qubits(self) -> int:
        """Qubits of the four registers that tell branches apart."""
        return sum(self.sizes[name] for name in BRANCH_REGISTERS)

    def _place(self, register: str, place: int) -> int:
        """The number with a single 1, at a place of a branch register."""
        before = sum(self.sizes[name] for name in BRANCH_REGISTERS[: BRANCH_REGISTERS.index(register)])
        return 1 << (self.n_branch_qubits - 1 - before - place)
