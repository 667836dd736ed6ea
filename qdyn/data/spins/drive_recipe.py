"""The section ``drives`` of a recipe: H(t) = H_0 + sum_k f_k(t) H_k with pulses of named shapes.

Each drive says its ``shape``, the parameters of that shape and, under ``hamiltonian``, H_k:

==============  =========================================================  ================================
shape           f(t)                                                       parameters
==============  =========================================================  ================================
``constant``    a                                                          amplitude
``ramp``        v_0 up to t_0, v_1 from t_1 on, a straight line between    first, last, begin, end
``sine``        a sin(w t + p)                                             amplitude, frequency, phase
``gaussian``    a exp(-(t - c)^2 / (2 s^2))                                amplitude, centre, width
``step``        v_0 before t_0, v_1 from then on: a sudden quench          before, after, time
==============  =========================================================  ================================

A parameter is a number or ``{uniform: [low, high]}``, drawn for each trajectory. Couplings of H_k that a
drive does not name are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qdyn.data.spins.draws import Number, Uniform, extremes, read_number
from qdyn.data.spins.hamiltonian_recipe import Draw, HamiltonianRecipe, read_hamiltonian
from qdyn.errors import ConfigError, nearest
from qdyn.quantum.drives import Drive, GaussianDrive, SampledDrive

Values = Mapping[str, float]


@dataclass(frozen=True)
class Shape:
    """A pulse up to its parameters.

    Args:
        units: the unit of each parameter.
        make: f from the parameters and the last time that it is needed for.
    """

    units: Mapping[str, str]
    make: Callable[[Values, float], Drive]


def _constant(values: Values, until: float) -> Drive:
    # Of one step, so that with quenches beside it the whole is constant in pieces.
    return SampledDrive([0.0], [values["amplitude"]], kind="steps")


def _sine(values: Values, until: float) -> Drive:
    amplitude, frequency, phase = values["amplitude"], values["frequency"], values["phase"]
    return lambda time: amplitude * math.sin(frequency * time + phase)


def _gaussian(values: Values, until: float) -> Drive:
    return GaussianDrive(values["amplitude"], values["centre"], values["width"])


def _ramp(values: Values, until: float) -> Drive:
    begin, end = values["begin"], values["end"]
    # Sampled, so that a solver knows of the kinks.
    times = np.unique([min(0.0, begin), begin, end, max(until, end)])
    return SampledDrive(times, np.interp(times, [begin, end], [values["first"], values["last"]]))


def _step(values: Values, until: float) -> Drive:
    time = values["time"]
    return SampledDrive([min(0.0, time) - 1, time], [values["before"], values["after"]], kind="steps")


#: The pulses that a recipe may name.
SHAPES: dict[str, Shape] = {
    "constant": Shape({"amplitude": "1"}, _constant),
    "ramp": Shape({"first": "1", "last": "1", "begin": "1/J", "end": "1/J"}, _ramp),
    "sine": Shape({"amplitude": "1", "frequency": "J", "phase": "rad"}, _sine),
    "gaussian": Shape({"amplitude": "1", "centre": "1/J", "width": "1/J"}, _gaussian),
    "step": Shape({"before": "1", "after": "1", "time": "1/J"}, _step),
}


@dataclass(frozen=True)
class DriveRecipe:
    """A pulse and what it drives.

    Args:
        shape: name of the pulse.
        parameters: its parameters, some of which each trajectory draws for itself.
        hamiltonian: H_k.
    """

    shape: str
    parameters: Mapping[str, Number]
    hamiltonian: HamiltonianRecipe

    @property
    def units(self) -> Mapping[str, str]:
        """The unit of each parameter."""
        return SHAPES[self.shape].units

    def draw(self, random: np.random.Generator) -> Draw:
        """The parameters of the pulse of one trajectory, then the couplings of its H_k."""
        values = {
            name: value.draw(random) if isinstance(value, Uniform) else value
            for name, value in self.parameters.items()
        }
        return {**values, **self.hamiltonian.draw(random)}  # type: ignore[dict-item]

    def function(self, drawn: Draw, until: float) -> Drive:
        """f_k of a trajectory that drew ``drawn``, for times from 0 to ``until``."""
        return SHAPES[self.shape].make({name: float(drawn[name]) for name in self.parameters}, until)


def read_drives(sections: Sequence[Mapping[str, Any]], static: HamiltonianRecipe) -> tuple[DriveRecipe, ...]:
    """The drives that a recipe lists.

    Args:
        sections: see the head of this module.
        static: H_0.

    Raises:
        ConfigError: a key is unknown or missing, or a value breaks its rule.

    Example:
        >>> chain = read_hamiltonian({"model": "transverse_field_ising", "n_sites": 2})
        >>> shaken = {"model": "transverse_field_ising", "field": 1.0}
        >>> pulse = {"shape": "sine", "amplitude": 0.5, "frequency": 2.0, "phase": 0.0}
        >>> (drive,) = read_drives([{**pulse, "hamiltonian": shaken}], chain)
        >>> round(drive.function(drive.parameters, until=4.0)(0.25), 6)  # sin(0.5) / 2
        0.239713
    """
    return tuple(_read(section, f"drives[{place}]", static) for place, section in enumerate(sections))


def _read(section: Mapping[str, Any], key: str, static: HamiltonianRecipe) -> DriveRecipe:
    name = section.get("shape")
    if not isinstance(name, str) or name not in SHAPES:
        raise ConfigError(f"`{key}.shape` is {name!r}, which is unknown: {nearest(str(name), SHAPES)}")
    known = SHAPES[name].units
    for entry in section:
        if entry not in ("shape", "hamiltonian", *known):
            raise ConfigError(f"unknown key `{key}.{entry}`: {nearest(entry, ['hamiltonian', *known])}")
    for entry in (*known, "hamiltonian"):
        if entry not in section:
            raise ConfigError(f"the key `{key}.{entry}` is missing.")
    if not isinstance(section["hamiltonian"], Mapping):
        raise ConfigError(f"`{key}.hamiltonian` must be a section of keys and values.")
    parameters = {entry: read_number(f"{key}.{entry}", section[entry]) for entry in known}
    if name == "gaussian" and extremes(parameters["width"])[0] <= 0:
        raise ConfigError(f"`{key}.width` must be > 0, but is {section['width']!r}.")
    if name == "ramp" and extremes(parameters["begin"])[1] >= extremes(parameters["end"])[0]:
        raise ConfigError(f"`{key}.end` must come after `{key}.begin`, whatever is drawn.")
    part = read_hamiltonian(section["hamiltonian"], key=f"{key}.hamiltonian", part_of=static)
    return DriveRecipe(name, parameters, part)
