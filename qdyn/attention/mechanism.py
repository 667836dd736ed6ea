r"""What every attention mechanism has in common, and the list of those that a name builds.

A mechanism is a module that is called with queries, keys and values and gives an output and weights:

$$(q, k, v) \mapsto (y, A), \qquad q, k, v, y \in \mathbb{R}^{B \times T \times \mathrm{dim}}, \quad
A \in \mathbb{R}^{B \times \mathrm{heads} \times T \times T},$$

row i of A what element i takes from each element j. Which pairs (i, j) may meet is decided once, for all
mechanisms: j <= i where it is causal, and what a mask allows. A *bias* is added to every mechanism's
log-weights: $a_{ij} \to a_{ij} \exp(b_{ij})$ for weights before they are normalised, which is the sum of
score and bias where a softmax follows (Ying et al., arXiv:2106.05234, for graphs).

Mechanisms hold ordinary parameters and work under `torch.func.functional_call` and `vmap`, so that many seeds
train as one batch. PyTorch's global generator draws their initial values.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from qdyn.attention.pair_weights import allowed_pairs, check_element_mask
from qdyn.checks import check_integer
from qdyn.config import build as read_options
from qdyn.errors import ArgumentError, ConfigError, nearest

ENTRY_POINTS = "qdyn.attention"
"""The group of entry points under which other packages offer mechanisms."""

_OURS = {
    "compound": "qdyn.attention.mechanisms.compound:CompoundAttention",
    "doubly_stochastic": "qdyn.attention.mechanisms.doubly_stochastic:DoublyStochasticAttention",
    "fidelity": "qdyn.attention.mechanisms.fidelity_kernel:FidelityAttention",
    "gaussian_projected": "qdyn.attention.mechanisms.gaussian_projected:GaussianProjectedAttention",
    "hadamard": "qdyn.attention.mechanisms.hadamard_overlap:HadamardAttention",
    "logic": "qdyn.attention.mechanisms.logic_similarity:LogicSimilarityAttention",
    "measured": "qdyn.attention.mechanisms.measured_vectors:MeasuredVectorAttention",
    "mixed_state": "qdyn.attention.mechanisms.mixed_state:MixedStateAttention",
    "orthogonal": "qdyn.attention.mechanisms.orthogonal:OrthogonalAttention",
    "overlap": "qdyn.attention.mechanisms.overlap_interference:OverlapAttention",
    "qasa": "qdyn.attention.mechanisms.qasa_adapter:AdapterAttention",
    "qksan": "qdyn.attention.mechanisms.kernel_gate:KernelGateAttention",
    "quixer": "qdyn.attention.mechanisms.lcu_mixing:LCUAttention",
    "softmax": "qdyn.attention.mechanisms.softmax:SoftmaxAttention",
}
_CONTROLS = {
    "frozen": "qdyn.attention.mechanisms.controls:FrozenAttention",
    "kernel": "qdyn.attention.mechanisms.controls:KernelAttention",
    "tanh_bottleneck": "qdyn.attention.mechanisms.controls:TanhBottleneckAttention",
    "uniform": "qdyn.attention.mechanisms.controls:UniformAttention",
}
_OURS_AND_CONTROLS = {**_OURS, **_CONTROLS}
_REGISTERED: dict[str, type[Attention]] = {}

Mechanism = TypeVar("Mechanism", bound="type[Attention]")


@dataclass(frozen=True)
class NoOptions:
    """The options of a mechanism that has none."""


class Attention(nn.Module, ABC):
    """A map from queries, keys and values to an output and weights; subclasses define `attend`.

    Args:
        dim: Width of queries, keys, values and output, >= 1.
        heads: How many attend side by side, >= 1.
        causal: Whether element i may see elements j <= i only.
        options: The frozen dataclass that the mechanism was registered with.

    Attributes:
        name: What it was registered as.
        options_class: The dataclass of its options.
        can_be_causal: False where it must see all elements, and refuses causal=True.

    Example:
        >>> attention = build("softmax", dim=8, heads=2)
        >>> x = torch.randn(3, 5, 8)
        >>> output, weights = attention(x, x, x)
        >>> output.shape, weights.shape
        (torch.Size([3, 5, 8]), torch.Size([3, 2, 5, 5]))
        >>> bool((weights.sum(-1) - 1).abs().max() < 1e-6), bool((weights.triu(1) == 0).all())
        (True, True)
    """

    name: ClassVar[str] = "attention"
    options_class: ClassVar[type] = NoOptions
    can_be_causal: ClassVar[bool] = True

    def __init__(self, *, dim: int, heads: int = 1, causal: bool = True, options: Any = None) -> None:
        super().__init__()
        self.dim = check_integer("dim", dim, minimum=1)
        self.heads = check_integer("heads", heads, minimum=1)
        self.causal = bool(causal)
        self.options = self.options_class() if options is None else options

    def forward(
        self,
        queries: Shaped[Tensor, "*_batch_time_dim"],
        keys: Shaped[Tensor, "*_batch_time_dim"],
        values: Shaped[Tensor, "*_batch_time_dim"],
        mask: Shaped[Tensor, "*_batch_time"] | None = None,
        *,
        bias: Shaped[Tensor, "*_batch_heads_time_time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], Float[Tensor, "batch heads time time"]]:
        """Attend.

        Args:
            queries: q, (batch, T, dim).
            keys: k, likewise.
            values: v, likewise.
            mask: True where something takes part: an element as a key, (batch, T), or a pair, (T, T) or
                (batch, T, T). Two axes of length batch and T are elements, also where batch = T.
            bias: Added to the logarithm of the weights, (batch or 1, heads or 1, T, T).

        Returns:
            The output, and the weights that it rests on. Row i of an element that sees nobody is zero.

        Raises:
            ArgumentError: shapes that do not fit, or numbers that are not real floating-point ones.
        """
        bias = self._check(queries, keys, values, bias)
        batch, steps = queries.shape[:2]
        allowed = allowed_pairs(batch, steps, mask, causal=self.causal, device=queries.device)
        return self.attend(queries, keys, values, allowed, bias)

    def over_prefixes(
        self,
        queries: Shaped[Tensor, "*_batch_time_dim"],
        keys: Shaped[Tensor, "*_batch_time_dim"],
        values: Shaped[Tensor, "*_batch_time_dim"],
        mask: Bool[Tensor, "batch time"] | None = None,
        *,
        bias: Shaped[Tensor, "*_batch_heads_time_time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], Float[Tensor, "batch heads time time"]]:
        """Every element attends as the last of the sequence that ends with it: none sees what follows.

        A mechanism that cannot be causal forecasts so. Here each prefix is a sequence of its own; subclasses
        may know a shorter way.

        Args:
            queries: q, (batch, T, dim).
            keys: k, likewise.
            values: v, likewise.
            mask: (batch, T), False where an element takes no part.
            bias: As of `forward`.

        Returns:
            As of `forward`; row i is what `forward` gives for the last of elements 0 to i.

        Raises:
            ArgumentError: As of `forward`.

        Example: where every element counts the same, each one sees the mean of what came until then.
            >>> x = torch.tensor([[[0.0], [1.0], [5.0]]])
            >>> build("uniform", dim=1, causal=False).over_prefixes(x, x, x)[1][0, 0].round(decimals=2)
            tensor([[1.0000, 0.0000, 0.0000],
                    [0.5000, 0.5000, 0.0000],
                    [0.3300, 0.3300, 0.3300]])
        """
        bias = self._check(queries, keys, values, bias)
        batch, steps = queries.shape[:2]
        check_element_mask(mask, batch, steps)
        seen = torch.ones(steps, steps, dtype=torch.bool, device=queries.device).tril()
        seen = (seen if mask is None else seen & mask[:, None]).expand(batch, steps, steps)
        elements = [one.repeat_interleave(steps, dim=0) for one in (queries, keys, values)]
        own = None if bias is None else bias.expand(batch, -1, -1, -1).repeat_interleave(steps, dim=0)
        found = self(*elements, seen.flatten(0, 1), bias=own)
        last = torch.arange(steps, device=queries.device)
        output, weights = (torch.unflatten(one, 0, (batch, steps)) for one in found)
        return output[:, last, last], weights[:, last, :, last].movedim(0, 2)

    @abstractmethod
    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Output and weights, given which pairs may meet.

        Args:
            queries: q, (batch, T, dim).
            keys: k, likewise.
            values: v, likewise.
            allowed: (batch or 1, 1, T, T) bool, the mask and causality together.
            bias: As of `forward`.
        """

    def split_heads(self, features: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch heads time _"]:
        """(batch, T, heads k) -> (batch, heads, T, k)."""
        return torch.unflatten(features, -1, (self.heads, -1)).movedim(-2, 1)

    def join_heads(self, features: Float[Tensor, "batch heads time _"]) -> Float[Tensor, "batch time width"]:
        """(batch, heads, T, k) -> (batch, T, heads k)."""
        return features.movedim(1, -2).flatten(-2)

    def extra_repr(self) -> str:
        """What a printed module says of itself."""
        return f"dim={self.dim}, heads={self.heads}, causal={self.causal}, {self.options}"

    def _check(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor | None:
        """Refuse what does not fit; the bias in the precision of the queries."""
        for name, given in (("queries", queries), ("keys", keys), ("values", values)):
            if given.ndim != 3 or given.shape[-1] != self.dim or given.shape != queries.shape:
                raise ArgumentError(
                    f"Argument `{name}` must have shape (batch, T, {self.dim}), one for all three, "
                    f"but has {tuple(given.shape)}."
                )
            if not given.is_floating_point():
                raise ArgumentError(
                    f"Argument `{name}` must hold real floating-point numbers, but is {given.dtype}."
                )
        if bias is not None:
            batch, steps = queries.shape[:2]
            fits = bias.ndim == 4 and bias.shape[0] in (1, batch) and bias.shape[1] in (1, self.heads)
            if not fits or bias.shape[2:] != (steps, steps):
                raise ArgumentError(
                    f"Argument `bias` must have shape ({batch} or 1, {self.heads} or 1, {steps}, {steps}), "
                    f"but has {tuple(bias.shape)}."
                )
            return bias.to(queries.dtype)
        return None


# -- the list of mechanisms ----------------------------------------------------------------------------


def register_attention(name: str, *, options: type | None = None) -> Callable[[Mechanism], Mechanism]:
    """Class decorator: let `build`, presets and the tables call a mechanism by ``name``.

    A package of its own offers one without being imported first, by an entry point::

        [project.entry-points."qdyn.attention"]
        mine = "my_package.my_attention:MyAttention"

    Args:
        name: The name, an identifier.
        options: A frozen dataclass whose fields are the mechanism's options; None for none.

    Raises:
        ArgumentError: a name that another class has, or that is no identifier.

    Example:
        >>> from qdyn.attention.pair_weights import softmax_weights
        >>> @register_attention("uniform_example")
        ... class Uniform(Attention):
        ...     '''Every allowed element counts the same.'''
        ...
        ...     def attend(self, queries, keys, values, allowed, bias):
        ...         shape = (len(queries), self.heads, *allowed.shape[-2:])
        ...         weights = softmax_weights(queries.new_zeros(shape), allowed, bias)
        ...         return self.join_heads(weights @ self.split_heads(values)), weights
        >>> build("uniform_example", dim=2)(*[torch.ones(1, 3, 2)] * 3)[1][0, 0, 1]
        tensor([0.5000, 0.5000, 0.0000])
        >>> unregister_attention("uniform_example")
    """
    if not name.isidentifier():
        raise ArgumentError(f"Argument `name` must be an identifier, but is {name!r}.")

    def register(mechanism: Mechanism) -> Mechanism:
        taken = _REGISTERED.get(name)
        again = taken is not None and taken.__qualname__ == mechanism.__qualname__
        own = f"{mechanism.__module__}:{mechanism.__qualname__}"
        ours = _OURS_AND_CONTROLS.get(name, own) != own
        if (taken is not None and not again) or ours:
            raise ArgumentError(f"Argument `name` is {name!r}, which another mechanism has.")
        mechanism.name = name
        mechanism.options_class = options or NoOptions
        _REGISTERED[name] = mechanism
        return mechanism

    return register


def unregister_attention(name: str) -> None:
    """Forget a mechanism that `register_attention` made known."""
    _REGISTERED.pop(name, None)


def names() -> tuple[str, ...]:
    """Every mechanism that `build` knows, but the controls: ours, registered and installed ones.

    >>> "softmax" in names()
    True
    """
    return tuple(sorted({*_OURS, *_REGISTERED, *_offered()} - _CONTROLS.keys()))


def controls() -> tuple[str, ...]:
    """What `build` knows as well, to compare mechanisms with; see `qdyn.attention.mechanisms.controls`.

    >>> controls()
    ('frozen', 'kernel', 'tanh_bottleneck', 'uniform')
    """
    return tuple(sorted(_CONTROLS))


def attention_class(name: str) -> type[Attention]:
    """The class of a mechanism.

    Raises:
        ArgumentError: unknown name; the nearest is given.

    Example:
        >>> attention_class("softmx")
        Traceback (most recent call last):
        ...
        qdyn.errors.ArgumentError: Argument `attention` is 'softmx', which is unknown: did you mean 'softmax'?
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in _OURS_AND_CONTROLS:
        ours: type[Attention] = pkgutil.resolve_name(_OURS_AND_CONTROLS[name])
        return ours
    if (point := _offered().get(name)) is not None:
        return _load(point)
    raise ArgumentError(f"Argument `attention` is {name!r}, which is unknown: {nearest(str(name), names())}")


def check_options(name: str, options: dict[str, Any], *, where: str | None = None) -> Any:
    """The options of a mechanism as its frozen dataclass.

    Args:
        name: The mechanism.
        options: Values by name; what is missing keeps its default.
        where: What a message names as the source.

    Raises:
        ConfigError: unknown option (the nearest is named), wrong type, or a value out of range.

    Example:
        >>> check_options("softmax", {"projetion": False})
        Traceback (most recent call last):
        ...
        qdyn.errors.ConfigError: Attention 'softmax': unknown key `projetion`: did you mean 'projection'?
    """
    cls = attention_class(name).options_class
    return read_options(cls, options, where=where or f"Attention {name!r}")


def build(name: str, *, dim: int, heads: int = 1, causal: bool = True, **options: Any) -> Attention:
    """The mechanism of that name, untrained.

    Args:
        name: One of `names`.
        dim: Width of queries, keys, values and output, >= 1.
        heads: How many attend side by side, >= 1.
        causal: Whether element i may see elements j <= i only.
        options: The mechanism's own options, which its class documents.

    Returns:
        A `torch.nn.Module`, called as (queries, keys, values, mask=None, bias=None) -> (output, weights).

    Raises:
        ArgumentError: unknown name, or what the mechanism cannot do.
        ConfigError: an unknown option or a wrong value; one line that names the nearest.

    Example:
        >>> build("softmax", dim=4, projection=False).options
        SoftmaxOptions(projection=False, temperature=1.0)
    """
    cls = attention_class(name)
    return cls(dim=dim, heads=heads, causal=causal, options=check_options(name, options))


def describe(name: str) -> str:
    """One line on a mechanism: the first of its class.

    >>> describe("softmax")
    'Classical scaled dot-product attention, the reference of all others.'
    """
    text = (attention_class(name).__doc__ or "").strip()
    return text.splitlines()[0] if text else ""


def _offered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _load(point: EntryPoint) -> type[Attention]:
    found = point.load()
    if not (isinstance(found, type) and issubclass(found, Attention)):
        raise ConfigError(
            f"The entry point {point.name!r} of {ENTRY_POINTS} must be a subclass of "
            f"qdyn.attention.Attention, but {point.value} is {found!r}."
        )
    return register_attention(point.name, options=found.options_class)(found)
