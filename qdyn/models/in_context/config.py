"""What a preset's `model` section says for attention that learns in context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qdyn.checks import check_integer, check_positive
from qdyn.errors import ConfigError
from qdyn.models.config import ModelSection

UnitaryName = Literal["hardware_efficient", "brick_wall", "free"]
StepName = Literal["descent", "conjugate"]
HeadStartName = Literal["found", "cold"]
TransitionPhaseName = Literal["as_given", "transport"]
SymmetryName = Literal["time_reversal", "reflection", "spin_flip"]


@dataclass(frozen=True)
class InContextConfig(ModelSection):
    """A predictor whose layers regress on the transitions of its own context.

    Attributes:
        kind: "in_context".
        layers: Steps of the in-context regression in a block, >= 1.
        steps: Their sizes: "descent" learns them, "conjugate" takes those of conjugate gradients with a
            learnt ridge, which follow from overlaps of the context.
        completion_layers: Steps that keep what the context does not explain off what it does, >= 0; 0 leaves
            plain least squares with V for the rest.
        blocks: How often the whole is repeated on states with the forecasts of the block before mixed in,
            >= 1: a filter against noise.
        phases: "as_given" takes the states' phases as they are, "transport" restores those of transitions
            from overlaps, which first_real phases need.
        symmetries: Symmetries that the dynamics is known to have: "time_reversal" (a real Hamiltonian),
            "reflection" of the chain, "spin_flip" of all its spins. Each doubles the transitions.
        heads: Heads of the attention, >= 1: each but the first has a trained unitary S_h, which turns the
            transitions x -> y into S_h x -> S_h y, and a trained weight.
        backward_heads: Further heads that read transitions backwards, conj(y) -> conj(x), >= 0.
        head_start: "found" starts the S_h from symmetries found in the training trajectories, where there are
            any (up to 5 qubits); "cold" near 1.
        feed_forward: Units kappa F (1 - 2|x_j><x_j|) E that act on each forecast by itself, >= 0.
        unitaries: How V (and W, S, E, F) are parametrised: "free" (exp(iH)), "hardware_efficient" or
            "brick_wall".
        circuit_layers: Layers of their circuits, >= 1; free unitaries have none.
        initial_angle: Circuits' angles start uniform in [0, initial_angle]; free unitaries near 1.
        warm_start: Whether V starts from the best single unitary for the training transitions.
        train_value: Whether V is trained; without, only the step sizes are.
        score_unitaries: Whether each layer of the regression has a unitary W_l in its scores ("descent").
        kernel_degree: Largest p of the weight s sum_p c_p |s|^(2p) of a score, >= 0; 0 is the score itself
            ("descent" only).
        momentum: Whether a layer repeats a part of the step of the one before ("descent" only).
    """

    kind: str = "in_context"
    layers: int = 4
    steps: StepName = "conjugate"
    completion_layers: int = 4
    blocks: int = 1
    phases: TransitionPhaseName = "transport"
    symmetries: tuple[SymmetryName, ...] = ()
    heads: int = 1
    backward_heads: int = 0
    head_start: HeadStartName = "found"
    feed_forward: int = 0
    unitaries: UnitaryName = "free"
    circuit_layers: int = 43
    initial_angle: float = 0.3
    warm_start: bool = True
    train_value: bool = True
    score_unitaries: bool = False
    kernel_degree: int = 0
    momentum: bool = False

    def __post_init__(self) -> None:
        check_integer("model.layers", self.layers, minimum=1)
        check_integer("model.completion_layers", self.completion_layers, minimum=0)
        check_integer("model.heads", self.heads, minimum=1)
        check_integer("model.backward_heads", self.backward_heads, minimum=0)
        check_integer("model.feed_forward", self.feed_forward, minimum=0)
        check_integer("model.blocks", self.blocks, minimum=1)
        check_integer("model.circuit_layers", self.circuit_layers, minimum=1)
        check_integer("model.kernel_degree", self.kernel_degree, minimum=0, maximum=16)
        check_positive("model.initial_angle", self.initial_angle)
        if len(set(self.symmetries)) < len(self.symmetries):
            raise ConfigError(
                f"Argument `model.symmetries` must name each symmetry once, but is {list(self.symmetries)}."
            )
        extras = {
            "score_unitaries": self.score_unitaries,
            "kernel_degree": self.kernel_degree,
            "momentum": self.momentum,
        }
        for name, wanted in extras.items():
            if wanted and self.steps == "conjugate":
                raise ConfigError(f"Argument `model.{name}` needs `model.steps` 'descent', not 'conjugate'.")
