"""Logistic regression: the convex classifier that everything that is trained has to beat."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from qdyn.checks import check_integer, check_positive


def logistic_regression(
    features: Float[Tensor, "items features"],
    classes: Int64[Tensor, " items"],
    *,
    n_classes: int,
    strength: float,
) -> tuple[Float[Tensor, "features classes"], Float[Tensor, " classes"]]:
    r"""The weights and offsets of the regularised maximum-likelihood classifier.

    $$p(c \mid x) \propto \exp(w_c \cdot x + b_c), \qquad
      \min_{w, b}\; -\frac1N \sum_i \log p(c_i \mid x_i) + \frac{\lambda}{2} \lVert w \rVert^2.$$

    There is one optimum in w, and L-BFGS finds it; offsets are not held back, and fixed up to a constant.

    Args:
        features: x_i, (N, F).
        classes: c_i from 0, (N,).
        n_classes: How many classes there are, >= 2.
        strength: $\lambda$ > 0.

    Returns:
        w (F, classes) and b (classes,), float64, where the gradient is below 1e-7.

    Source: C. M. Bishop, Pattern Recognition and Machine Learning (2006), section 4.3.

    Example: two points a distance apart are told apart.
        >>> w, b = logistic_regression(
        ...     torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), n_classes=2, strength=0.1)
        >>> (torch.tensor([[-1.0], [1.0]], dtype=torch.float64) @ w + b).argmax(dim=1).tolist()
        [0, 1]
    """
    check_integer("n_classes", n_classes, minimum=2)
    check_positive("strength", strength)
    wide = features.detach().double()
    weights = torch.zeros(wide.shape[1], n_classes, dtype=torch.float64, requires_grad=True)
    offsets = torch.zeros(n_classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, offsets],
        max_iter=1000,
        tolerance_grad=1e-7,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(wide @ weights + offsets, classes)
        loss = loss + 0.5 * strength * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    # Also where the caller forbids gradients, as evaluation does.
    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach(), offsets.detach()
