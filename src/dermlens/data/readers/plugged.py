"""A data set as someone's own reader reads it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.data.readers.source import Source
from dermlens.data.readers.tables import DX_FURTHER
from dermlens.errors import UserError, nearest
from dermlens.plugins import PluggedReader
from dermlens.predict.sources.folders import survey
from dermlens.predict.sources.tables import NAMES, Problems


def read_by_plugin(folder: Path, reader: PluggedReader) -> Source:
    """Read a data set as someone's own reader does.

    Args:
        folder: the data folder, or the table itself.
        reader: `data.reader` of a recipe.

    Raises:
        UserError: it may not be resolved, or it returned no frame, no `image_id` or `dx`, or a column of
            another name.
    """
    found, settings = reader.resolve()
    frame = found.function(folder, **settings)
    if not isinstance(frame, pd.DataFrame) or not len(frame):
        raise UserError(
            f"data.reader {reader.kind} returned {type(frame).__name__}, which has no row of an image"
        )
    for name in ("image_id", "dx"):
        if name not in frame:
            raise UserError(f"data.reader {reader.kind} returned no column {name}")
    if strange := [str(name) for name in frame if name not in NAMES]:
        raise UserError(
            f"data.reader {reader.kind} returned a column {strange[0]}, which is not"
            f" ours{nearest(strange[0], NAMES)}"
        )
    text = {
        name: ["" if pd.isna(cell) else str(cell) for cell in frame[name]]
        if name in frame
        else [""] * len(frame)
        for name in NAMES
    }
    where = [f"{reader.kind}, row {row}" for row in range(len(frame))]
    rows = pd.DataFrame({**text, DX_FURTHER: [()] * len(frame), "where": where})
    place = folder.parent if folder.is_file() else folder
    account = Account(folder, notes=[f"read by {reader.kind}"])
    return Source(rows, survey(place), account, Problems())
