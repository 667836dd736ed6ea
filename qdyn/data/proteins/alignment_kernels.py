"""Compiled global alignment of proteins, and single-linkage clusters of those that are alike."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from qdyn.quantum.compiling import compiled

# A score is kept as score * _UNIT + identical pairs, so that of all best alignments the one with most wins.
_UNIT = 1 << 20
_NEVER = -(1 << 60)


@compiled
@no_type_check
def identical_pairs(first, second, scores, gaps):
    """Identical residues in the best global alignment with affine gaps, none of which counts at the ends.

    ``scores`` (letters + 1, letters + 1) and ``gaps``, what it costs to open and to extend one, are integers
    in one unit; the last code is that of an unknown residue, which is identical to none.
    """
    letters = scores.shape[0] - 1
    rows, columns = first.size, second.size
    # Best scores of the prefixes so far, of any kind and of those that end in a gap of `second`.
    best = np.zeros(columns + 1, np.int64)
    below = np.full(columns + 1, _NEVER, np.int64)
    opened, extended = gaps[0] * _UNIT, gaps[1] * _UNIT
    top = 0
    for i in range(1, rows + 1):
        letter = first[i - 1]
        before, best[0], beside = best[0], 0, _NEVER
        for j in range(1, columns + 1):
            other = second[j - 1]
            same = 1 if letter == other and letter < letters else 0
            pair = before + scores[letter, other] * _UNIT + same
            below[j] = max(best[j] - opened, below[j] - extended)
            beside = max(best[j - 1] - opened, beside - extended)
            before = best[j]
            best[j] = max(pair, below[j], beside)
        top = max(top, best[columns])
    for j in range(1, columns + 1):
        top = max(top, best[j])
    return top % _UNIT


@compiled
@no_type_check
def _root(parents, place):
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


@compiled
@no_type_check
def _share_a_word(words, first, first_end, second, second_end):
    """Whether two sorted lists of words have one in common."""
    while first < first_end and second < second_end:
        if words[first] == words[second]:
            return True
        if words[first] < words[second]:
            first += 1
        else:
            second += 1
    return False


@compiled
@no_type_check
def linked(proteins, word_lists, threshold, scores, gaps):
    """The root of each sequence's cluster, and how many pairs were aligned.

    ``proteins`` are the codes of all sequences in a row, where each starts, and how often each holds each
    letter; ``word_lists`` the words of all, and where those of each start. Two sequences are linked where
    more than ``threshold`` of the shorter one is identical. Pairs that are in one cluster already, or
    cannot reach the threshold whatever their order of residues, are not aligned, nor are those without a
    common word, where there are words.
    """
    codes, starts, counts = proteins
    words, word_starts = word_lists
    n, letters = starts.size - 1, scores.shape[0] - 1
    parents = np.arange(n)
    aligned = 0
    for i in range(n):
        for j in range(i):
            if _root(parents, i) == _root(parents, j):
                continue
            needed = threshold * min(starts[i + 1] - starts[i], starts[j + 1] - starts[j])
            most = 0
            for letter in range(letters):
                most += min(counts[i, letter], counts[j, letter])
            if most <= needed:
                continue
            if words.size and not _share_a_word(
                words, word_starts[i], word_starts[i + 1], word_starts[j], word_starts[j + 1]
            ):
                continue
            aligned += 1
            found = identical_pairs(
                codes[starts[i] : starts[i + 1]],
                codes[starts[j] : starts[j + 1]],
                scores,
                gaps,
            )
            if found > needed:
                parents[_root(parents, i)] = _root(parents, j)
    roots = np.empty(n, np.int64)
    for i in range(n):
        roots[i] = _root(parents, i)
    return roots, aligned


@compiled
@no_type_check
def most_alike(query, proteins, scores, gaps, threshold):
    """The greatest identity of a protein to any of several; the search ends beyond ``threshold``."""
    codes, starts = proteins
    found = 0.0
    for j in range(starts.size - 1):
        same = identical_pairs(query, codes[starts[j] : starts[j + 1]], scores, gaps)
        found = max(found, same / min(query.size, starts[j + 1] - starts[j]))
        if found > threshold:
            break
    return found
