"""Who takes part: rows by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.evaluation.contestants import of_predictors
from qdyn.models.baselines import Chance, Persistence


@pytest.fixture
def words() -> SequenceDataset:
    return SequenceDataset.from_arrays(np.zeros((2, 4), dtype=np.int64), kind="token", dimension=2)


def test_each_of_a_list_is_a_row_and_those_under_one_name_share_one(words: SequenceDataset) -> None:
    rows = of_predictors([Persistence(), Persistence(), Chance()], words)
    assert [row.key for row in rows] == ["persistence", "persistence-2", "chance"]
    rows = of_predictors({"kept": [Persistence(), Persistence()], "drawn": Chance()}, words)
    assert [(row.label, len(row.predictors)) for row in rows] == [("kept", 2), ("drawn", 1)]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("wrong", [{"x": 5}, {"x": Persistence}, {"x": []}, {"x": "persistence"}, [5]])
def test_what_is_no_predictor_is_named(words: SequenceDataset, wrong: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`predictors` must hold predictors, but (x|an entry) is"):
        of_predictors(wrong, words)
