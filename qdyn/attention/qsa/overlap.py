"""Attention by overlap: scores are amplitudes <x_j|W|x_i>, and values add up as amplitudes.

    s_ij = <x_j| W |x_i>,     z_j = sum_{i<=j} g(s_ij) V |x_i>

The sum over the past is taken before V acts, so that neither V nor W meets an object with two time axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Inexact
from torch import Tensor

from qdyn.attention.kernels import Kernel, SeriesKernel

_SCORES_IN_CACHE = 1 << 15


def overlap_predictions(
    x: Inexact[Tensor, "*#batch time dim"],
    query_key: Inexact[Tensor, "*#batch dim dim"],
    value: Inexact[Tensor, "*#batch dim dim"],
    kernel: Kernel,
    *,
    mask: Bool[Tensor, "*#batch time"] | None = None,
) -> Inexact[Tensor, "*batch time dim"]:
    """The unnormalised predictions z_j = sum_{i<=j} g(<x_j|W|x_i>) V |x_i>.

    Args:
        x: Elements (..., T, d), unit vectors.
        query_key: W, (..., d, d).
        value: V, (..., d, d).
        kernel: g.
        mask: (..., T); an element where it is False is as if deleted, and its own row means nothing.

    Returns:
        z, (..., T, d). The forecast of step j is z_j / ||z_j||.

    Source: arXiv:2602.06699 v2.

    Example: a constant sequence under identities predicts itself, once for every element seen.
        >>> from qdyn.attention.kernels import make_kernel
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> overlap_predictions(x, torch.eye(2), torch.eye(2), make_kernel("monomial", degree=2))
        tensor([[1., 0.],
                [2., 0.]])
    """
    dtype = torch.promote_types(x.dtype, torch.promote_types(query_key.dtype, value.dtype))
    # Filled, not multiplied: what stands at an element that does not exist may be NaN.
    keys = x.to(dtype) if mask is None else x.to(dtype).masked_fill(~mask.unsqueeze(-1), 0.0)
    queries = keys.conj() @ query_key.to(dtype)
    if keys.shape != queries.shape:
        keys = keys.expand(queries.shape)
    return _attend(queries, keys, kernel, mask) @ value.to(dtype).mT


def attention_weights(
    x: Inexact[Tensor, "*#batch time dim"],
    query_key: Inexact[Tensor, "*#batch dim dim"],
    kernel: Kernel,
    *,
    mask: Bool[Tensor, "*#batch time"] | None = None,
) -> Inexact[Tensor, "*batch time time"]:
    """The weights g(s_ij) themselves, row j the step and column i the element attended to; 0 for i > j.

    Args:
        x: Elements (..., T, d).
        query_key: W, (..., d, d).
        kernel: g.
        mask: (..., T); an element where it is False is attended to by nobody.

    Returns:
        g, (..., T, T), complex for complex scores.
    """
    dtype = torch.promote_types(x.dtype, query_key.dtype)
    keys = x.to(dtype)
    scores = (keys.conj() @ query_key.to(dtype)) @ keys.mT
    return kernel.weights(scores, _allowed(scores, mask))


def _allowed(scores: Tensor, mask: Tensor | None) -> Tensor:
    causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    return causal if mask is None else causal & mask.unsqueeze(-2)


def _attend(queries: Tensor, keys: Tensor, kernel: Kernel, mask: Tensor | None) -> Tensor:
    """sum_{i<=j} g(queries_j . keys_i) keys_i, (..., T, d). Masked keys are zero already."""
    if isinstance(kernel, SeriesKernel):
        return _CausalSeries.apply(queries, keys, kernel)  # type: ignore[no-untyped-call]
    scores = queries @ keys.mT
    return kernel.weights(scores, _allowed(scores, mask)) @ keys


class _CausalSeries(torch.autograd.Function):
    """c_j = sum_{i<=j} g(s_ij) x_i with s_ij = q_j . x_i (no conjugation), and its derivative by hand.

    With h = conj(dL/dc), conj(dL/ds)_ij = g'(s_ij) (h_j . x_i): conjugates are taken of (T, d) arrays, never
    of (T, T) ones. Scores are computed again for the derivative and a few sequences at a time, so that they
    stay in the processor's cache: a training step spends its time on fetching memory, not on arithmetic.
    """

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, kernel: SeriesKernel) -> Tensor:
        seen = [kernel(q @ x.mT).tril() @ x for q, x in _in_cache(queries, keys)]
        return torch.cat(seen).reshape(keys.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, SeriesKernel], output: Tensor) -> None:
        queries, keys, ctx.kernel = inputs
        ctx.save_for_backward(queries, keys)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        queries, keys = ctx.saved_tensors
        kernel = ctx.kernel
        on_queries, on_keys = [], []
        for q, x, h in _in_cache(queries, keys, gradient.conj().resolve_conj()):
            scores = q @ x.mT
            on_scores = (h @ x.mT) * kernel.derivative(scores).tril()
            on_queries.append(on_scores @ x)
            if ctx.needs_input_grad[1]:
                on_keys.append(kernel(scores).tril().mT @ h + on_scores.mT @ q)
        for_queries = torch.cat(on_queries).reshape(queries.shape).conj().resolve_conj()
        if not ctx.needs_input_grad[1]:
            return for_queries, None, None
        return for_queries, torch.cat(on_keys).reshape(keys.shape).conj().resolve_conj(), None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, int | None, None],
        queries: Tensor,
        keys: Tensor,
        kernel: SeriesKernel,
    ) -> tuple[Tensor, int]:
        def batch_first(tensor: Tensor, dim: int | None) -> Tensor:
            return (
                tensor.movedim(dim, 0) if dim is not None else tensor.expand(info.batch_size, *tensor.shape)
            )

        stacked = batch_first(queries, in_dims[0]), batch_first(keys, in_dims[1])
        return _CausalSeries.apply(*stacked, kernel), 0  # type: ignore[no-untyped-call]


def _in_cache(*arrays: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The sequences (..., T, d) of all arrays, as many at a time as have scores that fit into the cache."""
    steps = arrays[0].shape[-2]
    together = max(1, _SCORES_IN_CACHE // steps**2) if arrays[0].device.type == "cpu" else None
    flat = [array.reshape(-1, *array.shape[-2:]) for array in arrays]
    count = max(1, flat[0].shape[0])
    return zip(*(torch.split(array, together or count) for array in flat), strict=True)
