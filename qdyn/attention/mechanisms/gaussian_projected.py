r"""Gaussian-projected quantum self-attention (QSANN): a radial kernel of measured numbers.

$$z^q_i = \langle P_r\rangle_{U_q|x_i\rangle}, \quad z^k_j = \langle P_r\rangle_{U_k|x_j\rangle}, \qquad
A_{ij} = \mathrm{softmax}_j\Bigl(-\beta \sum_{r=1}^{m} (z^q_{ir} - z^k_{jr})^2\Bigr), \qquad
y_i = \sum_j A_{ij}\, o_j,$$

with the Pauli expectations $o_j$ on $U_v|x_j\rangle$. As published, m = 1, P_1 = Z on the first qubit and
beta = 1: every z lies in [-1, 1], so no weight exceeds another of its row by more than exp(4) = 54.6, and in
practice they are all but equal. More observables and a larger beta lift that limit to exp(4 m beta).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qdyn.attention.mechanism import register_attention
from qdyn.attention.paired_states import CircuitName, PairOptions, ValueName
from qdyn.attention.projected_pairs import ProjectedPairAttention
from qdyn.checks import check_integer, check_positive


@dataclass(frozen=True)
class GaussianOptions(PairOptions):
    """Options of `GaussianProjectedAttention`: those of `PairOptions`, as published by default, and more.

    Attributes:
        projected: m, observables that queries and keys are projected to, >= 1: Z on each qubit in turn, then
            X, Y and two-body strings.
        beta: Inverse temperature, > 0.
    """

    ansatz: CircuitName = "layered"
    values: ValueName = "measured"
    projected: int = 1
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("projected", self.projected, minimum=1)
        check_positive("beta", self.beta)


@register_attention("gaussian_projected", options=GaussianOptions)
class GaussianProjectedAttention(ProjectedPairAttention):
    """Weights by a Gaussian of the distance between measured numbers (QSANN), with temperature.

    Parameters: 3 n (D + 2) angles a head; nothing else where dim = heads n (D_enc + 2) and as many values are
    measured, as published. Device: 3 T circuits of n qubits. Simulation: T 2^n, and T^2 dim for mixing.

    Args:
        dim: Width of the elements.
        heads: Side by side; one as published.
        causal: Whether element i may see elements j <= i only; published models see all.
        options: `GaussianOptions`.

    Source: Li, Zhao, Wang, arXiv:2205.05625. The initial layer of Hadamard gates and the angles' count are
    recalled; they agree with the published numbers of parameters. Temperature and m > 1 are ours.

    Example: the published model for sentences has 36 angles a layer.
        >>> from qdyn.attention import build
        >>> attention = build("gaussian_projected", dim=12, causal=False, qubits=4)
        >>> sum(parameter.numel() for parameter in attention.parameters())
        36
    """

    options: GaussianOptions

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """-beta sum_r (z^q_ir - z^k_jr)^2."""
        distance = (queries[..., :, None, :] - keys[..., None, :, :]).square().sum(-1)
        return -self.options.beta * distance
