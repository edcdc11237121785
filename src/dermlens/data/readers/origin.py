"""Which data set or clinic an image comes from: its source, which is for splits and audit alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.errors import UserError
from dermlens.predict.sources.folders import image_id_of
from dermlens.predict.sources.sheets import read_header, read_sheet
from dermlens.predict.sources.tables import JOINT, NAMES, is_answers, theirs
from dermlens.predict.sources.vocabulary import is_missing, plain

INPUTS = ("age", "sex", "site")
AUDITED = ("dx", "dx_type", "source")
"""Columns that give the diagnosis away, or the clinic, whose class shares nearly do."""


def refuse_audited_inputs(columns: Mapping[str, str] | None) -> None:
    """Keep a column map from leading what is for audit only into the network.

    Raises:
        UserError: age, sex or site is mapped to a column of the diagnosis, its confirmation or the source.
    """
    for ours in INPUTS:
        mapped = (columns or {}).get(ours)
        for audited in AUDITED:
            if mapped is not None and _shared(mapped, (*NAMES[audited], (columns or {}).get(audited, ""))):
                raise UserError(
                    f"column map: {ours}={mapped} would make {audited} an input of the network; it is kept"
                    " for splits and audit alone, so map another column"
                )


def _shared(mapped: str, kept: Iterable[str]) -> bool:
    """Whether a mapped column, or one of those it joins, is one of some others, whatever its case."""
    theirs_plain = {plain(part) for name in kept if name for part in (name, *name.split(JOINT))}
    return any(plain(part) in theirs_plain for part in (mapped, *mapped.split(JOINT)))


def companion_sources(table: Path, others: Iterable[Path]) -> dict[Path, dict[str, str]]:
    """The source of each image from a file beside a table, such as HAM10000's `dataset_of_image.csv`.

    Args:
        table: the file that was read; it has no column of its own for the source.
        others: further tables of the data set; those in other folders are passed over.

    Returns:
        Source by image id, by the file that says it; of files beside it those that have both and no
        diagnosis.
    """
    found: dict[Path, dict[str, str]] = {}
    for path in sorted(path for path in others if path.absolute().parent == table.absolute().parent):
        header = read_header(path)
        if is_answers(header):
            continue
        image, source = theirs(header, "image_id"), theirs(header, "source")
        if image is None or source is None or theirs(header, "dx") is not None:
            continue
        sheet = read_sheet(path)
        found[path] = dict(zip(map(image_id_of, sheet.column(image)), sheet.column(source), strict=True))
    return found


def or_folder(said: pd.Series, folder: Path) -> list[str]:
    """The source that the data name for each image, or the name of their folder.

    Args:
        said: text, empty where the data do not say.
        folder: the data folder, or the table itself.
    """
    place = folder.parent if folder.is_file() else folder
    name = os.path.basename(os.path.abspath(place)) or "unknown"  # noqa: PTH100, PTH119 - links stay as laid
    return [name if is_missing(word) else word for word in said]


def with_sources(
    rows: pd.DataFrame, sources: Mapping[Path, Mapping[str, str]], account: Account
) -> pd.DataFrame:
    """The rows with the source of each image, from files beside the table."""
    said: dict[str, str] = {}
    for path, of_image in sources.items():
        said |= of_image
        account.joined.append(path)
    return rows.assign(source=[said.get(image_id_of(cell), "") for cell in rows["image_id"]])
