"""The Parseval embedding: orthonormal by construction, whatever the optimiser does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.errors import ArgumentError
from qdyn.models.embeddings import ParsevalEmbedding


def embedding(
    field: str = "complex", tokens: int = 40, dimension: int = 8, seed: int = 0
) -> ParsevalEmbedding:
    return ParsevalEmbedding(tokens, dimension, field=field, generator=np.random.default_rng(seed))


def deviation(module: ParsevalEmbedding) -> float:
    frame = module.frame().detach()
    return float((frame.mH @ frame - torch.eye(frame.shape[-1])).abs().max())


@pytest.mark.parametrize("field", ["complex", "real"])
def test_orthonormal_through_rough_training(field: str) -> None:
    module = embedding(field)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.3)
    target = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    first = None
    for _ in range(300):
        frame = module.frame()
        assert deviation(module) < 1e-6
        loss = (frame @ frame.mH - target).abs().square().sum()
        first = loss.item() if first is None else first
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < first - 1  # it did learn


@pytest.mark.parametrize("field", ["complex", "real"])
def test_leverage_and_states(field: str) -> None:
    module = embedding(field)
    frame = module.frame()
    tokens = torch.tensor([[3, 1, 4], [1, 5, 39]])
    alpha, states = module.leverage(tokens, frame), module.states(tokens, frame)
    assert states.is_complex() == (field == "complex")
    assert float(module.leverage(torch.arange(40), frame).sum().detach()) == pytest.approx(8, abs=1e-5)
    assert bool((alpha <= 1).all())
    torch.testing.assert_close(torch.linalg.vector_norm(states, dim=-1), torch.ones(2, 3))
    torch.testing.assert_close(states * alpha.sqrt().unsqueeze(-1), frame[tokens])


def test_every_frame_is_reached() -> None:
    """A frame used as its own free matrix comes back: the parametrisation leaves nothing out."""
    module = embedding()
    frame = embedding(seed=1).frame().detach()
    with torch.no_grad():
        module.columns.copy_(torch.stack([frame.real, frame.imag]))
    torch.testing.assert_close(module.frame(), frame)


def test_double_precision_follows_the_parameters() -> None:
    module = embedding().double()
    assert module.frame().dtype == torch.complex128
    assert deviation(module) < 1e-13


@pytest.mark.parametrize("field", ["complex", "real"])
def test_derivatives_agree_with_finite_differences(field: str) -> None:
    module = embedding(field, tokens=5, dimension=2).double()
    tokens = torch.tensor([0, 3, 3])

    def outputs(columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
        frame = torch.func.functional_call(_Frame(module), {"module.columns": columns}, ())
        return frame, module.states(tokens, frame), module.leverage(tokens, frame)

    torch.autograd.gradcheck(outputs, module.columns.detach().clone().requires_grad_())


class _Frame(torch.nn.Module):
    def __init__(self, module: ParsevalEmbedding) -> None:
        super().__init__()
        self.module = module

    def forward(self) -> torch.Tensor:
        return self.module.frame()


def test_more_dimensions_than_tokens_are_refused() -> None:
    with pytest.raises(ArgumentError, match="at most the size of the vocabulary, 3, but is 4"):
        embedding(tokens=3, dimension=4)
