"""The report of generated molecules: one HTML file that needs no network."""

from __future__ import annotations

import platform
from pathlib import Path

import qdyn
from qdyn.data.molecules.rdkit_calls import import_rdkit
from qdyn.evaluation.molecules.figures import attention_figure, molecule_svg, property_figure, shown_first
from qdyn.evaluation.molecules.generation import GeneratedMolecules, count_text, percent
from qdyn.evaluation.report.page import environment, saved_figures
from qdyn.files import write_text

_MOLECULES_SHOWN = 24


def write_molecule_report(generated: GeneratedMolecules, folder: Path) -> Path:
    """Write figures/*.png, figures/*.svg and report.html into ``folder``; return the path of the latter.

    Raises:
        OutputError: something cannot be written.
    """
    drawn = [property_figure(generated)] if generated.figures.valid else []
    if generated.attention is not None:
        drawn.append(attention_figure(generated.attention, model=generated.model))
    known = {True: "new", False: "trained on", None: ""}
    page = (
        environment()
        .get_template("molecules.html.j2")
        .render(
            title=f"Molecules by the {generated.model[0].lower()}{generated.model[1:]}",
            summary=_summary(generated),
            shares=generated.shares(),
            properties=generated.property_table(),
            molecules=[
                {"smiles": smiles, "svg": molecule_svg(smiles), "known": known[new]}
                for smiles, new in shown_first(generated, _MOLECULES_SHOWN)
            ],
            figures=saved_figures(drawn, folder),
            facts=_facts(generated),
        )
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _summary(generated: GeneratedMolecules) -> str:
    found = generated.figures
    text = [
        f"Of {count_text(found.queries)} strings that the model drew, {percent(found.validity)} are molecules"
    ]
    if found.uniqueness is not None:
        text.append(f"; of these {percent(found.uniqueness)} are distinct")
    if found.novelty is not None:
        text.append(f", and {percent(found.novelty)} of the distinct ones were not trained on")
    text.append(f". They were drawn at {generated.how}.")
    text += [
        f" Asked for {one.name} = {one.target:g}, the mean is {one.mean}: {one.distance} from it."
        for one in found.properties
        if one.distance is not None
    ]
    return "".join(text)


def _facts(generated: GeneratedMolecules) -> list[tuple[str, str]]:
    import_rdkit()
    import rdkit

    settings = generated.settings
    facts = [("Model", generated.model), ("Drawn", generated.how)]
    if generated.training is not None:
        number = count_text(len(generated.training.smiles))
        facts.append(("Trained on", f"{number} molecules of {generated.training.name}"))
    if settings["told"]:
        told = ", ".join(f"{name} {value:.4g}" for name, value in settings["told"].items())
        facts.append(("Conditions told", told))
        facts.append(("Imputed from", f"the {settings['neighbours']} nearest molecules, all ties averaged"))
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in generated.seconds.items())
    facts.append(("Time", spent))
    facts.append(
        (
            "Versions",
            f"qdyn {qdyn.__version__}, RDKit {rdkit.__version__}, Python {platform.python_version()}",
        )
    )
    return facts
