"""`qdyn generate`: a dataset from a recipe."""

from __future__ import annotations

from typing import Any

from qdyn.commands.parsing import CommandParser, add_cluster_options, integer

SUMMARY = "Generate a dataset from a recipe"
INTERRUPTED = "Interrupted: the same command goes on after the last finished shard."

_DETAILS = """
Writes HDF5 shards and a manifest with checksums. Killed at any moment, the same
command goes on after the last finished shard. Neither the number of workers nor
the size of a shard changes a bit of the data. `qdyn datasets` lists the recipes.
Several workers, here or at a dask scheduler, need pip install 'qdyn-toolkit[scale]'.
"""


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="generate",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        example="qdyn generate tfim-4q\nqdyn generate tfim-4q --size 100000 --workers 8 --out data/large\n"
        "qdyn generate tfim-4q --size 100000 --scheduler tcp://node17:8786 --out /shared/data/large",
    )
    made.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, or the path of a YAML file")
    made.add_argument("--out", metavar="DIR", help="the dataset's folder (default: data/NAME)")
    made.add_argument(
        "--size", metavar="N", type=integer(minimum=1), help="sequences in all, split as in the recipe"
    )
    add_cluster_options(made)
    made.add_argument(
        "--shard-size",
        metavar="N",
        type=integer(minimum=1),
        help="sequences in a file (default: about 256 MiB)",
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    from qdyn.config import read_yaml
    from qdyn.shipped import find_yaml

    read_yaml(
        find_yaml("datasets", options.recipe)
    )  # a wrong name or a broken file is told before torch loads
    from qdyn.data.generation.generate import generate
    from qdyn.data.recipes import read_recipe

    recipe = read_recipe(options.recipe)
    folder = generate(
        recipe,
        options.out or f"data/{recipe.name}",
        size=options.size,
        workers=options.workers,
        scheduler=options.scheduler,
        shard_size=options.shard_size,
    )
    print(folder)
    return 0
