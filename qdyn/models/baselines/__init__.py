"""Predictors that no gradient has touched: what a trained model has to beat, and the ceiling above it."""

from __future__ import annotations

from qdyn.models.baselines.chance import Chance
from qdyn.models.baselines.common import Baseline
from qdyn.models.baselines.hamiltonian import ExactEvolution, MeanHamiltonian
from qdyn.models.baselines.higher_order_dmd import HigherOrderDMD
from qdyn.models.baselines.identification import HamiltonianIdentification
from qdyn.models.baselines.in_context import InContextDMD
from qdyn.models.baselines.labels import BagOfWords, MajorityClass, NaiveBayes
from qdyn.models.baselines.least_squares import LeastSquares, Procrustes
from qdyn.models.baselines.mean import TrainingMean
from qdyn.models.baselines.ngrams import Bigram, NGram, Unigram
from qdyn.models.baselines.persistence import Persistence
from qdyn.models.baselines.series import AutoRegression, SeasonalNaive, Zero

__all__ = [
    "AutoRegression",
    "BagOfWords",
    "Baseline",
    "Bigram",
    "Chance",
    "ExactEvolution",
    "HamiltonianIdentification",
    "HigherOrderDMD",
    "InContextDMD",
    "LeastSquares",
    "MajorityClass",
    "MeanHamiltonian",
    "NGram",
    "NaiveBayes",
    "Persistence",
    "Procrustes",
    "SeasonalNaive",
    "TrainingMean",
    "Unigram",
    "Zero",
]
