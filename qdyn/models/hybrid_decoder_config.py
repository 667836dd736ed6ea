"""What a preset's `model` section says for the decoder of molecules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qdyn.checks import check_integer
from qdyn.errors import ConfigError
from qdyn.models.config import ModelSection

ScoreName = Literal["classical", "classical_eq", "quantum", "uniform"]
SCORE_NAMES: tuple[ScoreName, ...] = ("classical", "classical_eq", "quantum", "uniform")
AnsatzName = Literal["real", "hardware_efficient"]
PropertyAngleName = Literal["sigmoid", "batch_range"]


@dataclass(frozen=True)
class HybridDecoderConfig(ModelSection):
    """A transformer decoder of one block whose attention scores may be overlaps of circuits.

    Attributes:
        kind: "hybrid_decoder".
        score: Where attention scores come from: "classical" (query and key matrices), "classical_eq" (the
            same with as many parameters as the circuit has angles), "quantum" (a Hadamard test), or "uniform"
            (none: every element before counts the same, the control).
        conditions: Names of the data's conditions that the decoder is told, in this order; none of them for a
            decoder of sequences alone.
        width: Width of the embedding, >= 1.
        block: Elements of the longest sequence, [CLS] and [EOS] among them, >= 3: positions are learnt.
        qubits: Working qubits of the circuit, an even number >= 4; a multiple of 3, >= 6, with conditions.
        layers: Layers of every circuit, >= 1. One layer factorises into tables, more do not.
        ansatz: "real" (RY and a ring of CNOTs, as published) or "hardware_efficient" (RX, RY, RZ and a ring).
        property_angles: How conditions become angles: "sigmoid" bounds each to [0, pi] by itself;
            "batch_range" stretches those of a batch to [0, pi], as published, so that a forecast depends on
            what else is in the batch.
        dropout: Probability that an entry of the embedding or of the perceptron's output is dropped in
            training, in [0, 1).
        initial_spread: Standard deviation of position, query and key angles at the start, >= 0. At zero, as
            published, exact gradients of position angles vanish and these never move.
    """

    kind: str = "hybrid_decoder"
    score: ScoreName = "quantum"
    conditions: tuple[str, ...] = ()
    width: int = 64
    block: int = 24
    qubits: int = 6
    layers: int = 1
    ansatz: AnsatzName = "real"
    property_angles: PropertyAngleName = "sigmoid"
    dropout: float = 0.0
    initial_spread: float = 0.1

    def __post_init__(self) -> None:
        check_integer("model.width", self.width, minimum=1)
        check_integer("model.block", self.block, minimum=3)
        check_integer("model.layers", self.layers, minimum=1)
        check_integer("model.qubits", self.qubits, minimum=2 * self.registers)
        if self.qubits % self.registers:
            raise ConfigError(
                f"Argument `model.qubits` must be a multiple of {self.registers}, one register for each of "
                f"{', '.join(self.register_names)}, but is {self.qubits}."
            )
        if len(set(self.conditions)) < len(self.conditions):
            raise ConfigError(f"Argument `model.conditions` must name each once, but is {self.conditions}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"Argument `model.dropout` must lie in [0, 1), but is {self.dropout:g}.")
        if not 0 <= self.initial_spread < float("inf"):
            raise ConfigError(
                "Argument `model.initial_spread` must be a finite number >= 0, "
                f"but is {self.initial_spread:g}."
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
