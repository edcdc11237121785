"""Frames and lists as a person reads them on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd


def frame_table(frame: pd.DataFrame, title: str) -> Table:
    """A frame as a table: its index first, numbers to the right."""
    rows = frame.reset_index()
    table = Table(title=title)
    for name in rows.columns:
        table.add_column(str(name), justify="right" if rows[name].dtype.kind in "iuf" else "left")
    for row in rows.itertuples(index=False):
        table.add_row(*map(str, row))
    return table
