"""L-BFGS for an ensemble: every member has its own curvature, and no member feels another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

HISTORY = 10
_CURVATURE = 1e-8


class EnsembleLBFGS(torch.optim.Optimizer):
    r"""Limited-memory BFGS over parameters with a leading member axis, one direction for each member.

    The direction is $-H g$, with $H$ made by the two-loop recursion from the last `HISTORY` pairs of steps
    $s$ and changes of gradient $y$; a pair without positive curvature, $s \cdot y \le 10^{-8} |s| |y|$, is
    left out. There is no line search, since a loss on a mini-batch has no line to search: a direction is
    shortened until no parameter moves by more than ``lr``.

    Gradients of neighbouring steps are compared, so batches should be large, best the whole training split.

    Args:
        parameters: Tensors (members, ...).
        lr: The largest change of any parameter in an update.

    Source: J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed. (2006), algorithm 7.4.
    """

    def __init__(self, parameters: Iterable[Tensor], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every member."""
        group = self.param_groups[0]
        held = [p for p in group["params"] if p.grad is not None]
        flat = _flat([p.detach() for p in held])
        gradient = _flat([p.grad for p in held])
        steps, changes = self._history(held, flat, gradient)
        direction = _two_loops(gradient, steps, changes)
        largest = direction.abs().amax(dim=1, keepdim=True)
        tiny = torch.finfo(largest.dtype).tiny
        direction *= (group["lr"] / largest.clamp_min(tiny)).clamp_max(1.0)
        for parameter, part in zip(held, _split(direction, held), strict=True):
            state = self.state[parameter]
            state["before"], state["gradient"] = parameter.detach().clone(), parameter.grad.clone()
            parameter.sub_(part)

    def _history(self, held: list[Tensor], flat: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The steps and changes of gradient so far, (pairs, members, parameters), the latest last."""
        if "before" not in self.state[held[0]]:
            empty = flat.new_zeros(0, *flat.shape)
            return empty, empty
        newest = (
            flat - _flat([self.state[p]["before"] for p in held]),
            gradient - _flat([self.state[p]["gradient"] for p in held]),
        )
        found = []
        for name, latest in zip(("steps", "changes"), newest, strict=True):
            for parameter, part in zip(held, _split(latest, held), strict=True):
                earlier = self.state[parameter].get(name, part.new_zeros(0, *part.shape))
                self.state[parameter][name] = torch.cat([earlier, part[None]])[-HISTORY:].contiguous()
            found.append(torch.cat([self.state[p][name].flatten(2) for p in held], dim=2))
        return found[0], found[1]


def _two_loops(gradient: Tensor, steps: Tensor, changes: Tensor) -> Tensor:
    """H g for every member, (members, parameters)."""
    curvature = (steps * changes).sum(-1)
    lengths = torch.linalg.vector_norm(steps, dim=-1) * torch.linalg.vector_norm(changes, dim=-1)
    sound = curvature > _CURVATURE * lengths
    weight = torch.where(sound, 1 / torch.where(sound, curvature, 1.0), 0.0)
    direction = gradient.clone()
    shares = []
    for step, change, rho in zip(reversed(steps), reversed(changes), reversed(weight), strict=True):
        share = rho * (step * direction).sum(-1)
        direction -= share[:, None] * change
        shares.append(share)
    scale = torch.ones_like(gradient[:, 0])
    for step_dot, change, found in zip(curvature, changes, sound, strict=True):
        scale = torch.where(found, step_dot / change.square().sum(-1).clamp_min(1e-30), scale)
    direction *= scale[:, None]
    for step, change, rho, share in zip(steps, changes, weight, reversed(shares), strict=True):
        direction += (share - rho * (change * direction).sum(-1))[:, None] * step
    return direction


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)


def _split(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    parts = torch.split(flat, [tensor[0].numel() for tensor in like], dim=1)
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
