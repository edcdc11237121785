"""Tables 1, 3, A1 and A2, which are words and counts, and every table as CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dermlens.data.predictions import write_csv
from dermlens.files import write_text
from dermlens.predict.metadata import PaperMetadata
from paper.report.cells import Cell, columns_of, write_cells
from paper.report.ours import Related, ours_by_work
from paper.report.schemas import LARGE, MOBILE

CAPTIONS = {
    "table_1": "Related work, as far as it is rebuilt here",
    "table_3": "Two rows of the metadata",
    "table_a1": "Layers of the large networks and VGG16",
    "table_a2": "Layers of the mobile networks",
}


OTHER = ("classical", "adjusted")
"""Kinds of systems that train no network."""


def word_tables(layers: pd.DataFrame, examples: pd.DataFrame, related: Related) -> dict[str, pd.DataFrame]:
    """The tables that hold no measured number, by name; those of which nothing is published are left out.

    Args:
        layers: as `paper.layers` counts them; may be empty.
        examples: two rows of the metadata; may be empty.
        related: what was measured of the related systems.
    """
    of = {"table_a1": LARGE, "table_a2": MOBILE}
    structures = {name: layers[layers["backbone"].isin(names)] for name, names in of.items()}
    found = {"table_1": _related(related), "table_3": _encoded(examples), **structures}
    return {name: table for name, table in found.items() if len(table)}


def write_words(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table of words as CSV and LaTeX."""
    write_csv(folder / f"{name}.csv", table, digits=6)
    _write_latex(folder / f"{name}.tex", table, CAPTIONS[name], name)


def write_table(folder: Path, name: str, cells: Sequence[Cell], caption: str) -> None:
    """Write a table of numbers: CSV with one row a cell, LaTeX as printed / notebook / ours."""
    write_cells(folder / f"{name}.csv", cells)
    shown = {(cell.row, cell.column): " / ".join(_three(cell)) for cell in cells}
    columns = columns_of(cells)
    rows = [
        {"": row, **{column: shown.get((row, column), "") for column in columns}}
        for row in dict.fromkeys(cell.row for cell in cells)
    ]
    _write_latex(folder / f"{name}.tex", pd.DataFrame(rows), f"{caption}: printed / notebook / ours", name)


def _three(cell: Cell) -> tuple[str, str, str]:
    ours = "" if cell.ours is None else f"{cell.ours.value:.4g}"
    return cell.printed or "–", cell.notebook_value or "–", ours or "–"


def _write_latex(path: Path, table: pd.DataFrame, caption: str, name: str) -> None:
    shown = table.fillna("").astype(str)
    latex = shown.to_latex(index=False, escape=True, caption=caption, label=f"tab:{name}", position="tbp")
    write_text(path, latex)


def _related(related: Related) -> pd.DataFrame:
    """A row a cited work, from the systems that `related/` rebuilds."""
    text = files("related").joinpath("systems.yaml").read_text(encoding="utf-8")
    works: dict[str, list[Mapping[str, Any]]] = {}
    ours = ours_by_work(related)
    for system in yaml.safe_load(text).values():
        if "cites" in system:
            works.setdefault(system["cites"], []).append(system)
    rows = [
        {
            "work": cited,
            "deep learning": "; ".join(one["title"] for one in own if one["kind"] not in OTHER),
            "other methods": "; ".join(one["title"] for one in own if one["kind"] in OTHER),
            "printed": "; ".join(dict.fromkeys(one["published"] for one in own if "published" in one)),
            "ours, mean recall": ours[cited],
        }
        for cited, own in sorted(works.items(), key=lambda work: (len(work[0]), work[0]))
    ]
    return pd.DataFrame(rows)


def _encoded(examples: pd.DataFrame) -> pd.DataFrame:
    """The rows, and which of the network's numbers are not 0."""
    if examples.empty:
        return examples
    encoder = PaperMetadata().fit(examples["age"], examples["sex"].tolist(), examples["site"].tolist())
    rows = encoder.encode(examples["age"], examples["sex"].tolist(), examples["site"].tolist())
    set_to_1 = [
        ", ".join(name for name, value in zip(encoder.names[1:], row[1:], strict=True) if value)
        for row in rows
    ]
    return examples.assign(**{"numbers that are 1": set_to_1})
