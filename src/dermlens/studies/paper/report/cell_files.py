"""The cells of a table as CSV: printed, notebook and ours, with what there is to say of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dermlens.evaluation.predictions import write_csv
from dermlens.studies.paper.report.cells import EXACT, Cell

COLUMNS = (
    "row", "column", "metric", "system", "printed", "notebook", "notebook_value", "notebook_agrees", "ours",
    "ours_sd", "ours_low", "ours_high", "seeds", "ours_agrees", "trained", "needs", "note",
)  # fmt: skip


def write_cells(path: Path, cells: Sequence[Cell]) -> None:
    """Write a table, one row a cell.

    Args:
        path: of the file.
        cells: of the table; `system` is the id of what ours is a number of, whose recipe the page names.
    """
    rows = [
        (
            cell.row, cell.column, cell.metric, cell.system, cell.printed, cell.notebook, cell.notebook_value,
            cell.notebook_agrees, *_numbers(cell), cell.ours_agrees,
            cell.ours.short if cell.ours is not None else "", cell.needs, cell.note,
        )
        for cell in cells
    ]  # fmt: skip
    write_csv(path, pd.DataFrame(rows, columns=list(COLUMNS)), digits=5)


def _numbers(cell: Cell) -> tuple[float | str | None, float | None, float | None, float | None, int | None]:
    ours = cell.ours
    if ours is None:
        return None, None, None, None, None
    if cell.metric in EXACT:
        return f"{ours.value:.0f}", None, None, None, ours.seeds
    return ours.value, ours.sd, ours.low, ours.high, ours.seeds
