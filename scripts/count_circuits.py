"""What the attention circuits cost and how that grows in T, d and k, beside the published scaling.

python scripts/count_circuits.py > docs/circuit-costs.md
"""

from __future__ import annotations

from qdyn.attention.qsa.circuit_costs import CircuitSize
from qdyn.circuits.counting import count_table, growth_exponent

LAYERS = 4
SERIES = {
    "T": [(4, 3, 1), (8, 3, 1), (16, 3, 1), (32, 3, 1)],
    "d": [(8, 2, 1), (8, 3, 1), (8, 4, 1), (8, 5, 1)],
    "k": [(8, 3, 1), (8, 3, 2), (8, 3, 4), (8, 3, 8)],
}


CLOSING = """
The published scaling (arXiv:2602.06699 v2) is that of the loads alone. Exponents below 1 come from what
does not grow with the size: the blocks of W and V and, in k, the value register. The exponent in T is a
little above 1 because the pairs i <= j are prepared in O(T log T)."""


def size(steps: int, n_qubits: int, degree: int, kernel: str) -> CircuitSize:
    return CircuitSize(steps, n_qubits, degree, layers=LAYERS, kernel=kernel)


def main() -> None:
    print("# What the attention circuits cost\n")
    print(
        "Made by `scripts/count_circuits.py`: the circuit of mu, lowered to CNOTs and one-qubit gates, with "
        f"{LAYERS} layers of the default ansatz for W and V. Parameters count every angle, "
        "also those that load data.\n"
    )
    rows = [
        (f"{kernel}, T={steps}, d={2**n}, k={degree}", size(steps, n, degree, kernel).count())
        for kernel in ("monomial", "polynomial")
        for steps, n, degree in [(4, 2, 1), (4, 2, 2), (8, 3, 1), (8, 3, 2), (16, 4, 1), (16, 4, 2)]
    ]
    print(count_table(rows))
    print("\n## Growth of the CNOT count\n")
    print("The exponent a of CNOTs ~ size^a, fitted over a series that varies one size (monomial kernel).\n")
    print("| size | series (T, d, k) | CNOTs | fitted exponent | published: O(k T d) loads |")
    print("|---|---|---|---|---|")
    for place, (name, series) in enumerate(SERIES.items()):
        counts = [size(*sizes, "monomial").count().two_qubit_gates for sizes in series]
        shown = [(steps, 2**n, degree) for steps, n, degree in series]
        exponent = growth_exponent([sizes[place] for sizes in shown], counts)
        print(f"| {name} | {shown} | {counts} | {exponent:.2f} | 1 |")
    print(CLOSING)


if __name__ == "__main__":
    main()
