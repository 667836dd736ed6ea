"""Real Markov sequences on the sphere: unit vectors that drift towards nowhere in particular."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qdyn.data.layout import Block, Layout
from qdyn.data.source import Precision, Source, generator_of
from qdyn.errors import ConfigError


@dataclass(frozen=True)
class MarkovSphere(Source):
    """Unit vectors in R^d with x_{j+1} = normalise(a x_j + b eps_j), x_1 uniform on the sphere.

    The components of eps_j are independent standard normal numbers, so that its norm is about sqrt(d). (The
    paper does not say. With a = 0.8, b = 0.6, d = 16 this reading puts the best possible L_1 at 2.73, where
    the published figures lie; a unit vector eps would put it at 0.45.)

    No forecast does better than x_j itself: given x_j, the distribution of x_{j+1} is symmetric about it.

    Args:
        dimension: d, at least 2.
        n_steps: predictions a sequence gives; it has one vector more.
        persistence: a, the weight of the present.
        noise: b, the weight of the noise, > 0.

    Source: arXiv:2602.06699v2, the real-valued sequences.
    """

    dimension: int
    n_steps: int
    persistence: float
    noise: float

    def __post_init__(self) -> None:
        if self.dimension < 2:
            raise ConfigError(f"`dimension` must be an integer >= 2, but is {self.dimension}.")
        if self.n_steps < 1:
            raise ConfigError(f"`n_steps` must be an integer >= 1, but is {self.n_steps}.")
        if self.noise <= 0:
            raise ConfigError(f"`noise` must be > 0, but is {self.noise}.")

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        return Layout(
            kind="real",
            dimension=self.dimension,
            length=self.n_steps + 1,
            dtype="float32" if precision == "single" else "float64",
        )

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`."""
        normal = np.stack(
            [
                generator_of(seed, first + index).standard_normal((self.n_steps + 1, self.dimension))
                for index in range(count)
            ]
        )
        vectors = np.empty_like(normal)
        vectors[:, 0] = _normalised(normal[:, 0])
        for step in range(self.n_steps):
            vectors[:, step + 1] = _normalised(
                self.persistence * vectors[:, step] + self.noise * normal[:, step + 1]
            )
        return Block(vectors.astype(self.layout(precision).dtype))


def _normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
