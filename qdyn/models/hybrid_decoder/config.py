"""What a preset's `model` section says for the decoder of molecules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qdyn.checks import check_integer, check_positive
from qdyn.errors import ConfigError
from qdyn.models.decoder_config import DecoderSection

ScoreName = Literal["classical", "classical_eq", "quantum", "uniform", "attention"]
SCORE_NAMES: tuple[ScoreName, ...] = ("classical", "classical_eq", "quantum", "uniform")
"""Those of the decoder itself."""
AnsatzName = Literal["real", "hardware_efficient"]
PropertyAngleName = Literal["sigmoid", "batch_range"]
GradientName = Literal["exact", "parameter_shift", "spsa"]


@dataclass(frozen=True)
class HybridDecoderConfig(DecoderSection):
    """A transformer decoder of one block whose attention scores may be overlaps of circuits.

    Attributes:
        kind: "hybrid_decoder".
        score: Where attention comes from: "classical" (query and key matrices), "classical_eq" (the same with
            as many parameters as the circuit has angles), "quantum" (a Hadamard test), "uniform" (no scores:
            every element before counts the same, the control), or "attention" (any other, by its name).
        conditions: See `DecoderSection`.
        standardise: See `DecoderSection`.
        width: Width of the embedding, >= 1.
        block: Elements of the longest sequence, [CLS] and [EOS] among them, >= 3: positions are learnt.
        qubits: Working qubits of the circuit, an even number >= 4; a multiple of 3, >= 6, with conditions.
        layers: Layers of every circuit, >= 1. One layer factorises into tables, more do not.
        ansatz: "real" (RY and a ring of CNOTs, as published) or "hardware_efficient" (RX, RY, RZ and a ring).
        property_angles: How conditions become angles: "sigmoid" bounds each to [0, pi] by itself;
            "batch_range" stretches those of a batch to [0, pi], as published, so that a forecast depends on
            what else is in the batch, or in a process's share of it.
        frozen: Whether the angles of all circuits stay as they were drawn: the control that says what
            training circuits is worth.
        gradient: How scores of circuits are differentiated: "exact", or from the values of further circuits
            alone, "parameter_shift" and "spsa" (simultaneous perturbation, as published).
        spsa_step: Radians by which "spsa" perturbs every angle, > 0.
        dropout: Probability that an entry of the embedding or of the perceptron's output is dropped in
            training, in [0, 1).
        initial_spread: Standard deviation of position, query and key angles at the start, >= 0. At zero, as
            published, exact gradients of position angles vanish and these never move.
        attention: Any of `qdyn.attention.names()`, for the score "attention".
        attention_options: Its own options.
        heads: Heads of that attention, >= 1; 1 for other scores.
    """

    kind: str = "hybrid_decoder"
    score: ScoreName = "quantum"
    qubits: int = 6
    layers: int = 1
    ansatz: AnsatzName = "real"
    property_angles: PropertyAngleName = "sigmoid"
    frozen: bool = False
    gradient: GradientName = "exact"
    spsa_step: float = 0.01
    initial_spread: float = 0.1
    attention: str | None = None
    attention_options: Mapping[str, Any] = field(default_factory=dict)
    heads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("model.layers", self.layers, minimum=1)
        check_integer("model.heads", self.heads, minimum=1)
        check_integer("model.qubits", self.qubits, minimum=2 * self.registers)
        check_positive("model.spsa_step", self.spsa_step)
        if self.qubits % self.registers:
            raise ConfigError(
                f"Argument `model.qubits` must be a multiple of {self.registers}, one register for each of "
                f"{', '.join(self.register_names)}, but is {self.qubits}."
            )
        if not 0 <= self.initial_spread < float("inf"):
            raise ConfigError(
                "Argument `model.initial_spread` must be a finite number >= 0, "
                f"but is {self.initial_spread:g}."
            )
        if (self.attention is None) == (self.score == "attention"):
            raise ConfigError(
                "Argument `model.attention` must name an attention exactly where model.score is 'attention', "
                f"but is {self.attention!r}, and the score is {self.score!r}."
            )
        if self.score != "attention" and (self.attention_options or self.heads != 1):
            raise ConfigError(
                "Arguments `model.attention_options` and `model.heads` are for model.score 'attention', "
                f"but that is {self.score!r}."
            )
        if self.score != "quantum" and (self.frozen or self.gradient != "exact"):
            raise ConfigError(
                "Arguments `model.frozen` and `model.gradient` are for the circuits of model.score "
                f"'quantum', but that is {self.score!r}."
            )

    @property
    def register_names(self) -> tuple[str, ...]:
        """What each register of the circuit holds."""
        return ("token", "position", "conditions") if self.conditions else ("token", "position")

    @property
    def registers(self) -> int:
        """2, or 3 with conditions."""
        return len(self.register_names)

    @property
    def register_qubits(self) -> int:
        """Qubits of a register."""
        return self.qubits // self.registers

    @property
    def angles_per_qubit(self) -> int:
        """Angles of a qubit in one layer."""
        return 1 if self.ansatz == "real" else 3

    @property
    def register_angles(self) -> int:
        """Angles of a register, or the width of the small embedding of "classical_eq"."""
        return self.layers * self.register_qubits * self.angles_per_qubit
