# mypy: ignore-errors
"""The CUDA-Q kernels: they read a list of gates, so that they compile once for every circuit.

Imported on first use only, because CUDA-Q is optional. The gate names inside the kernel are CUDA-Q's.
"""

import cudaq

OPCODES = {"cx": 0, "x": 1, "y": 2, "h": 3, "rx": 4, "ry": 5, "rz": 6, "phase": 7}


@cudaq.kernel
def run_gates(n_qubits: int, codes: list[int], targets: list[int], controls: list[int], angles: list[float]):
    """Run gates 1, 2, ... of the lists; entry 0 is ignored, so that no list is ever empty."""
    qubits = cudaq.qvector(n_qubits)
    for place in range(1, len(codes)):
        code = codes[place]
        target = targets[place]
        if code == 0:
            x.ctrl(qubits[controls[place]], qubits[target])
        elif code == 1:
            x(qubits[target])
        elif code == 2:
            y(qubits[target])
        elif code == 3:
            h(qubits[target])
        elif code == 4:
            rx(angles[place], qubits[target])
        elif code == 5:
            ry(angles[place], qubits[target])
        elif code == 6:
            rz(angles[place], qubits[target])
        elif code == 7:
            r1(angles[place], qubits[target])


@cudaq.kernel
def continue_gates(  # noqa: PLR0917
    state: cudaq.State,
    repeats: int,
    codes: list[int],
    targets: list[int],
    controls: list[int],
    angles: list[float],
):
    """Run the gates ``repeats`` times on a given state.

    The loop is written out again: a kernel that both called would add a third to the time of a small circuit.
    """
    qubits = cudaq.qvector(state)
    for _ in range(repeats):
        for place in range(1, len(codes)):
            code = codes[place]
            target = targets[place]
            if code == 0:
                x.ctrl(qubits[controls[place]], qubits[target])
            elif code == 1:
                x(qubits[target])
            elif code == 2:
                y(qubits[target])
            elif code == 3:
                h(qubits[target])
            elif code == 4:
                rx(angles[place], qubits[target])
            elif code == 5:
                ry(angles[place], qubits[target])
            elif code == 6:
                rz(angles[place], qubits[target])
            elif code == 7:
                r1(angles[place], qubits[target])
