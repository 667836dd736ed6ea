"""Channels: their jump operators, per-site rates, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from qdyn.errors import ArgumentError
from qdyn.quantum.channels import decay, dephasing, depolarising, excitation


@pytest.mark.parametrize("make", [decay, dephasing, depolarising, excitation])
def test_rates_by_site(make) -> None:
    jumps = make([0.0, 0.5, 2.0]).jumps(3)
    assert {site for site, _ in jumps} == {1, 2}
    first = [matrix for site, matrix in jumps if site == 1]
    second = [matrix for site, matrix in jumps if site == 2]
    for weak, strong in zip(first, second, strict=True):
        assert np.allclose(2 * weak, strong)
        square = weak.conj().T @ weak
        assert np.allclose(square, np.diag(np.diag(square)))


def test_qutip_gets_the_same_operators() -> None:
    import qutip

    (operator,) = decay([0.0, 0.25]).to_qutip(2)
    assert operator == qutip.tensor(qutip.qeye(2), 0.5 * qutip.basis(2, 0) * qutip.basis(2, 1).dag())


BAD = [
    (lambda: decay(-0.1), "`rate` must be a number >= 0"),
    (lambda: decay(float("nan")), "`rate` must be finite"),
    (lambda: decay("fast"), "`rate` must hold real numbers"),
    (lambda: decay([[0.1]]), "one a site"),
    (lambda: dephasing([0.1, 0.2]).jumps(3), "3 rates, one a site, but holds 2"),
]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_rates_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
