from __future__ import annotations

import re

import numpy as np
import pytest

import qdyn
from qdyn.data.proteins.amino_acids import RESIDUES, residues_of
from qdyn.data.proteins.families import Profile, ProteinFamilies
from qdyn.data.proteins.sequence_identity import cluster_by_identity, nearest_identity
from qdyn.data.recipes import read_recipe
from qdyn.errors import ConfigError

SPLITS = {"train": 48, "validation": 12, "test": 24}


def small(**changes: object) -> ProteinFamilies:
    options = {"families": 3, "subfamilies": 6, "columns": 24, "longest": 34}
    return ProteinFamilies(**{**options, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shipped() -> qdyn.SequenceDataset:
    return qdyn.load_dataset("protein-families", progress=False)


def test_no_two_proteins_of_different_splits_are_alike(shipped: qdyn.SequenceDataset) -> None:
    """All pairs of a held-out protein with a quarter of those of the splits before it; the card has all."""
    parts = {
        name: residues_of(shipped.split(name).sequences(), shipped.metadata.vocabulary or ())
        for name in ("train", "validation", "test")
    }
    learnt = parts["train"][::4]
    assert nearest_identity(parts["test"] + parts["validation"], learnt, beyond=0.4).max() <= 0.4
    assert nearest_identity(parts["test"], parts["validation"], beyond=0.4).max() <= 0.4


def test_no_cluster_is_cut_by_the_splits() -> None:
    source = small().with_splits(SPLITS)
    proteins = [source.sequence(2, number)[0] for number in range(84)]
    split = np.repeat([0, 1, 2], [48, 12, 24])
    clusters = cluster_by_identity(proteins).of
    for number in range(clusters.max() + 1):
        assert len(set(split[clusters == number])) == 1


def test_members_are_relatives_and_subfamilies_belong_to_one_split() -> None:
    source = small().with_splits(SPLITS)
    found = [source.sequence(2, number) for number in range(84)]
    held = [{(f, s) for _, f, s in found[a:b]} for a, b in ((0, 48), (48, 60), (60, 84))]
    assert len(set.union(*held)) == sum(len(one) for one in held)
    profile = source.profile(2, 0, 0)
    members = [source.draw(profile, np.random.default_rng(k)) for k in range(20)]
    strangers = [source.draw(source.profile(2, 1, 0), np.random.default_rng(k)) for k in range(20)]
    assert nearest_identity(members, [profile.consensus]).mean() > 0.6
    assert nearest_identity(strangers, [profile.consensus]).mean() < 0.4


def test_sequences_have_the_frequencies_of_their_profile() -> None:
    """Without gaps every column is drawn from its own distribution."""
    source = small(insertion=0.0, deletion=0.0)
    profile = source.profile(1, 2, 3)
    random = np.random.default_rng(0)
    drawn = [source.draw(profile, random) for _ in range(3000)]
    assert {len(protein) for protein in drawn} == {24}
    shares = np.array([[sum(one[j] == a for one in drawn) for a in RESIDUES] for j in range(24)]) / 3000
    error = np.sqrt(profile.emissions * (1 - profile.emissions) / 3000)
    assert (np.abs(shares - profile.emissions) < 5 * error + 1e-9).all()


def test_lengths_are_those_of_the_automaton() -> None:
    """Mean inserted before a column: i / (1 - e). A run of columns skipped begins where none is skipped."""
    emissions = np.full((200, 20), 0.05)
    source = small(insertion=0.1, deletion=0.0, extension=0.5)
    random = np.random.default_rng(1)
    lengths = [len(source.draw(Profile(emissions, emissions[0]), random)) for _ in range(300)]
    variance = 200 * (0.1 * (1 + 0.5) / 0.25 - 0.04)  # of the number inserted, column by column
    assert abs(np.mean(lengths) - 200 * 1.2) < 4 * np.sqrt(variance / 300)


def test_a_motif_is_shared_by_the_family_and_by_nothing_else() -> None:
    source = small(motif=6, conservation=0.3)
    own = [source.profile(4, 0, k).emissions for k in range(6)]
    kept = np.stack([emissions.max(axis=1) for emissions in own]).min(axis=0) > 0.94
    places = np.flatnonzero(kept)
    assert len(places) == 6
    assert (np.diff(places) == 1).all()
    assert len({tuple(emissions.argmax(axis=1)[places]) for emissions in own}) == 1


def test_blocks_do_not_depend_on_how_they_are_cut() -> None:
    source = small(tags=("family", "hydropathy")).with_splits(SPLITS)
    whole = source.block(seed=3, first=40, count=12, precision="single")
    for number in (40, 47, 51):
        one = small(tags=("family", "hydropathy")).with_splits(SPLITS)
        part = one.block(seed=3, first=number, count=1, precision="single")
        np.testing.assert_array_equal(part.values[0], whole.values[number - 40])


def test_tags_say_what_the_conditions_say(shipped: qdyn.SequenceDataset) -> None:
    words = shipped.metadata.vocabulary or ()
    for row, family in zip(shipped.sequences().tolist(), shipped.conditions["family"].tolist(), strict=True):
        assert words[row[0]] == "<bos>"
        assert words[row[1]] == f"<family={int(family)}>"
    assert sorted(set(shipped.conditions["family"].tolist())) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": 1}, "`families` must be an integer >= 2"),
        ({"longest": 24}, "`longest` must be > 24"),
        ({"motif": 25}, "`motif` must be an integer from 0 to 20"),
        ({"insertion": 1.0}, r"`insertion` must lie in \[0, 1\)"),
        ({"conservation": 1.0}, r"`conservation` must lie in \(0, 1\)"),
        ({"tags": ("family", "family")}, "`tags` must name each tag once"),
    ],
)
def test_parameters_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_what_cannot_be_split_is_told() -> None:
    with pytest.raises(ConfigError, match="`subfamilies` must be an integer >= 3"):
        small(subfamilies=2).with_splits(SPLITS)
    # Conserved to the last column and alike in all subfamilies: nothing differs enough.
    twins = small(identity=0.02).with_splits({"train": 8, "test": 2})
    with pytest.raises(ConfigError, match=re.escape("raise `longest`, `identity` or `distinctness`")):
        twins.sequence(0, 9)


def test_the_recipe_says_that_it_is_synthetic() -> None:
    assert "synthetic" in read_recipe("protein-families").description
