"""The graph that tokens of SMILES draw: which token is an atom, and which two atoms a token binds.

A SMILES string is read from left to right, and so is its graph: an atom is bound to the one before it, or to
the one that a branch began at, and to the one that shares a ring number. A bond is known from the token on
that makes it, which is its later atom or its second ring number. A model that forecasts the next token may
use what is known so far and nothing else, also of strings that are not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from qdyn.data.smiles import SPECIAL

NO_ATOM = -1
"""Stands where a token makes no bond."""
_BONDS = frozenset("-=#:~/\\$")
_PASS, _ATOM, _OPEN, _CLOSE, _STOP, _RING = range(6)


@dataclass(frozen=True)
class TokenBonds:
    """The graphs of some rows of tokens.

    Attributes:
        atoms: True where a token is an atom.
        bonds: Places of the two atoms that each token binds, `NO_ATOM` twice where it binds none.
    """

    atoms: Bool[Tensor, "batch time"]
    bonds: Int64[Tensor, "batch time 2"]


class BondReader(nn.Module):
    """Reads the graphs of rows of SMILES tokens, side by side and on any device.

    What makes no sense, as in the strings of a model that is not trained yet, draws nothing: a branch that
    was never opened, a ring number before any atom.

    Args:
        vocabulary: Tokens as `qdyn.data.smiles.smiles_tokens` cuts them, "[CLS]", "[EOS]" and "<pad>" among
            them, in the order of their numbers.

    Example: the carbon atoms of cyclopropane; the ring closes with the second 1.
        >>> found = BondReader(["C", "1"])(torch.tensor([[0, 1, 0, 0, 1]]))
        >>> found.atoms.tolist(), found.bonds.tolist()
        ([[True, False, True, True, False]], [[[-1, -1], [-1, -1], [0, 2], [2, 3], [0, 3]]])
    """

    roles: Tensor
    rings: Tensor

    def __init__(self, vocabulary: Sequence[str]) -> None:
        super().__init__()
        numbers = [_ring_number(word) for word in vocabulary]
        known = sorted({number for number in numbers if number is not None})
        rings = [0 if number is None else known.index(number) for number in numbers]
        self.n_rings = max(1, len(known))
        self.register_buffer("roles", torch.tensor([_role(word) for word in vocabulary]), persistent=False)
        self.register_buffer("rings", torch.tensor(rings), persistent=False)

    def forward(self, tokens: Int64[Tensor, "batch time"]) -> TokenBonds:
        """Which tokens are atoms, and what each binds.

        Args:
            tokens: Numbers of words.
        """
        roles, rings = self.roles[tokens], self.rings[tokens]
        batch, steps = tokens.shape
        last = tokens.new_full((batch,), NO_ATOM)
        depth = tokens.new_zeros(batch)
        branches = tokens.new_full((batch, steps), NO_ATOM)
        opened = tokens.new_full((batch, self.n_rings), NO_ATOM)
        levels = torch.arange(steps, device=tokens.device)
        slots = torch.arange(self.n_rings, device=tokens.device)
        bonds = []
        # Rows of the batch differ in what a step is, and seeds may be batched on top: nothing branches here,
        # and nothing is written in place.
        for step, (role, ring) in enumerate(zip(roles.unbind(1), rings.unbind(1), strict=True)):
            is_atom, is_ring = role == _ATOM, (role == _RING) & (last >= 0)
            partner = opened.gather(1, ring[:, None])[:, 0]
            closes = is_ring & (partner >= 0)
            other = torch.where(is_atom, last, torch.where(closes & (partner != last), partner, NO_ATOM))
            this = torch.where(is_atom, step, last)
            bonds.append(torch.stack([other, torch.where(other >= 0, this, NO_ATOM)], -1))
            waits = torch.where(closes, NO_ATOM, last)
            opened = torch.where(is_ring[:, None] & (slots == ring[:, None]), waits[:, None], opened)
            opens, shuts = role == _OPEN, (role == _CLOSE) & (depth > 0)
            begun = branches.gather(1, (depth - 1).clamp_min(0)[:, None])[:, 0]
            branches = torch.where(opens[:, None] & (levels == depth[:, None]), last[:, None], branches)
            last = torch.where(shuts, begun, torch.where(role == _STOP, NO_ATOM, this))
            depth = depth + opens.long() - shuts.long()
        return TokenBonds(roles == _ATOM, torch.stack(bonds, 1))


def _ring_number(word: str) -> int | None:
    digits = word.removeprefix("%")
    return int(digits) if digits.isdigit() else None


def _role(word: str) -> int:
    if word in SPECIAL or word == ".":
        return _STOP
    if word in ("(", ")"):
        return _OPEN if word == "(" else _CLOSE
    if _ring_number(word) is not None:
        return _RING
    return _PASS if word in _BONDS else _ATOM
