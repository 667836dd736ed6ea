r"""Classical controls: what a quantum mechanism has to beat before its circuits have earned anything.

Each takes one thing away. With $A^{(0)}_{ij}$ the same number for every element j that i may see,

$$\text{uniform: } y_i = W_o \sum_j A^{(0)}_{ij}\, W_v v_j, \qquad
\text{kernel: } A_{ij} = \mathrm{softmax}_j\bigl(-|W_q q_i - W_k k_j|^2\bigr),$$

$$\text{tanh bottleneck: } A_{ij} = \mathrm{softmax}_j\, \tanh(W_q q_i + b_q) \cdot \tanh(W_k k_j + b_k),
\quad y_i = W_o \sum_j A_{ij} \tanh(W_v v_j + b_v):$$

a few numbers from -1 to 1 for every element, as Pauli expectations are, without a circuit. "frozen" is any
mechanism whose circuits stay as they were drawn, while the linear maps around them are trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qdyn.attention.mechanism import Attention, build, register_attention
from qdyn.attention.pair_weights import softmax_weights
from qdyn.checks import check_choice, check_integer
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class UniformOptions:
    """Options of `UniformAttention`.

    Attributes:
        sees: "all" that it may, or "itself" alone: no attention at all.
    """

    sees: Literal["all", "itself"] = "all"

    def __post_init__(self) -> None:
        check_choice("sees", self.sees, ("all", "itself"))


@register_attention("uniform", options=UniformOptions)
class UniformAttention(Attention):
    """Attention removed: every element counts the same, or none but the element itself.

    Parameters: 2 dim^2, for values and output.

    Args:
        dim: A multiple of heads.
        heads: Of no effect on the output.
        causal: Whether element i may see elements j <= i only.
        options: `UniformOptions`.

    Raises:
        ArgumentError: dim is no multiple of heads.

    Example:
        >>> from qdyn.attention import build
        >>> x = torch.randn(1, 3, 4)
        >>> build("uniform", dim=4)(x, x, x)[1][0, 0, 1]
        tensor([0.5000, 0.5000, 0.0000])
        >>> build("uniform", dim=4, sees="itself")(x, x, x)[1][0, 0, 1]
        tensor([0., 1., 0.])
    """

    options: UniformOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: UniformOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        _check_heads(dim, heads)
        self.value, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(2))

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        batch, steps = queries.shape[:2]
        if self.options.sees == "itself":
            allowed = allowed & torch.eye(steps, dtype=torch.bool, device=allowed.device)
        weights = softmax_weights(queries.new_zeros(batch, self.heads, steps, steps), allowed, bias)
        return self.output(self.join_heads(weights @ self.split_heads(self.value(values)))), weights


@dataclass(frozen=True)
class FeatureOptions:
    """Options of `KernelAttention` and `TanhBottleneckAttention`.

    Attributes:
        features: Numbers a head that queries and keys are mapped to, >= 1; with them the number of weights
            is set.
    """

    features: int = 5

    def __post_init__(self) -> None:
        check_integer("features", self.features, minimum=1)


@register_attention("kernel", options=FeatureOptions)
class KernelAttention(Attention):
    """A classical Gaussian kernel of trained linear features, in place of a quantum one.

    Parameters: 2 features heads dim for queries and keys, 2 dim^2 for values and output. The width of the
    kernel is that of the features.

    Args:
        dim: A multiple of heads.
        heads: Kernels side by side.
        causal: Whether element i may see elements j <= i only.
        options: `FeatureOptions`.

    Raises:
        ArgumentError: dim is no multiple of heads.

    Example: equal elements share the attention where queries and keys have the same map.
        >>> from qdyn.attention import build
        >>> attention = build("kernel", dim=4, features=2)
        >>> attention(*[torch.ones(1, 2, 4)] * 3)[1].round(decimals=5).tolist()
        [[[[1.0, 0.0], [0.5, 0.5]]]]
    """

    options: FeatureOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: FeatureOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        _check_heads(dim, heads)
        self.query, self.key = (nn.Linear(dim, heads * self.options.features, bias=False) for _ in range(2))
        self.value, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(2))

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        q, k = self.split_heads(self.query(queries)), self.split_heads(self.key(keys))
        distance = (q[..., :, None, :] - k[..., None, :, :]).square().sum(-1)
        weights = softmax_weights(-distance, allowed, bias)
        return self.output(self.join_heads(weights @ self.split_heads(self.value(values)))), weights


@register_attention("tanh_bottleneck", options=FeatureOptions)
class TanhBottleneckAttention(Attention):
    """Queries, keys and values as a few tanh features: "measured" without its circuits.

    Parameters: 3 features heads (dim + 1) for queries, keys and values, features heads dim for the output.

    Args:
        dim: Width of the elements.
        heads: Side by side.
        causal: Whether element i may see elements j <= i only.
        options: `FeatureOptions`.

    Example:
        >>> from qdyn.attention import build
        >>> attention = build("tanh_bottleneck", dim=16, features=5)
        >>> sum(parameter.numel() for parameter in attention.parameters())
        335
    """

    options: FeatureOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: FeatureOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        width = heads * self.options.features
        self.query, self.key, self.value = (nn.Linear(dim, width) for _ in range(3))
        self.output = nn.Linear(width, dim, bias=False)

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        q, k, v = (
            self.split_heads(torch.tanh(narrow(x)))
            for narrow, x in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        weights = softmax_weights(q @ k.mT, allowed, bias)
        return self.output(self.join_heads(weights @ v)), weights


@dataclass(frozen=True)
class FrozenOptions:
    """Options of `FrozenAttention`.

    Attributes:
        mechanism: Any other name.
        options: That mechanism's own.
        maps: Whether the linear maps of the mechanism are trained; without, all of it stays as drawn.
    """

    mechanism: str = "fidelity"
    options: Mapping[str, Any] = field(default_factory=dict)
    maps: bool = True

    def __post_init__(self) -> None:
        if self.mechanism == "frozen":
            raise ArgumentError("Argument `mechanism` must be one that is trained, but is 'frozen'.")


@register_attention("frozen", options=FrozenOptions)
class FrozenAttention(Attention):
    """Another mechanism with random circuits: they stay as drawn, and only linear maps are trained.

    What is frozen are all parameters outside of `torch.nn.Linear`: angles of circuits and of encodings, and
    coefficients of unitaries. They become buffers, drawn anew for every seed as at the start of a training.

    Args:
        dim: As of the mechanism.
        heads: Likewise.
        causal: Likewise.
        options: `FrozenOptions`.

    Attributes:
        held: The mechanism.

    Raises:
        ArgumentError: the mechanism has nothing to freeze, or cannot be built.

    Example:
        >>> from qdyn.attention import build
        >>> free = build("fidelity", dim=4, qubits=2)
        >>> frozen = build("frozen", dim=4, mechanism="fidelity", options={"qubits": 2})
        >>> [name for name, _ in frozen.named_parameters()]
        ['held.states.map.weight', 'held.states.map.bias', 'held.value.weight', 'held.output.weight']
    """

    options: FrozenOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: FrozenOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        chosen = self.options
        self.held = build(chosen.mechanism, dim=dim, heads=heads, causal=causal, **chosen.options)
        frozen = 0
        for part in self.held.modules():
            if chosen.maps and isinstance(part, nn.Linear):
                continue
            for name, parameter in list(part.named_parameters(recurse=False)):
                # A buffer, not a parameter without gradient: what is counted as learnt is learnt.
                delattr(part, name)
                part.register_buffer(name, parameter.detach())
                frozen += 1
        if not frozen:
            raise ArgumentError(
                f"Argument `mechanism` must have parameters to freeze, but {chosen.mechanism!r} has none."
            )

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        return self.held.attend(queries, keys, values, allowed, bias)

    def over_prefixes(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        *,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.over_prefixes`."""
        return self.held.over_prefixes(queries, keys, values, mask, bias=bias)


def _check_heads(dim: int, heads: int) -> None:
    if dim % heads:
        raise ArgumentError(f"Argument `heads` must divide dim={dim}, but is {heads}.")
