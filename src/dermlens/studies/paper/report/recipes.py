"""Which recipe stands behind a column: systems by id, their files, and the cells that are theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dermlens.studies.paper.report.cells import Cell
from dermlens.studies.paper.report.ours import UNCUT
from dermlens.studies.paper.study import MATRICES
from dermlens.studies.paper.systems import System

RECIPES = "src/dermlens/recipes"
EXPERIMENTS = "src/dermlens/studies/matrices"
"""Folders of the repository."""


def list_recipes(systems: Mapping[str, System], tables: Mapping[str, Sequence[Cell]]) -> list[dict[str, Any]]:
    """The systems, in the order in which they are worth running.

    Args:
        systems: by id.
        tables: title, such as `Table 5`, → its cells.

    Returns:
        A row each: `id`, `about`, `path` in the repository, the authors' `notebook` or none, and `places`, a
        sentence a table in which ours is of this system.
    """
    return [
        {
            "id": name,
            "about": system.about,
            "path": f"{RECIPES}/{system.recipe}.yaml",
            "notebook": system.notebook,
            "places": [
                f"{title}: {found}" for title, cells in tables.items() if (found := _places(name, cells))
            ],
        }
        for name, system in systems.items()
    ]


def list_experiments() -> list[str]:
    """The files of the experiments, whose arms change one thing each of a recipe that they name."""
    return [f"{EXPERIMENTS}/{name}.yaml" for name in MATRICES.values()]


def _places(system: str, cells: Sequence[Cell]) -> str:
    """The rows of a table that are all of a system, and else its cells."""
    found: list[str] = []
    for row in dict.fromkeys(cell.row for cell in cells if cell.system == system):
        own = [cell for cell in cells if cell.row == row and not cell.system.startswith(f"{UNCUT}/")]
        if all(cell.system == system for cell in own):
            found.append(row)
        else:
            found += [f"{row}, {cell.column}" for cell in own if cell.system == system]
    return "; ".join(found)
