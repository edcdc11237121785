"""Which data set or clinic an image comes from: its source, which is for splits and audit alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from dermlens.errors import UserError
from dermlens.predict.sources.tables import JOINT, NAMES
from dermlens.predict.sources.vocabulary import is_missing, plain

INPUTS = ("age", "sex", "site")
AUDITED = ("dx", "dx_type", "source", "skin_tone")
"""Columns that give the diagnosis away, or the clinic, whose class shares nearly do; and the skin tone, by
which answers are compared."""


def refuse_audited_inputs(columns: Mapping[str, str] | None) -> None:
    """Keep a column map from leading what is for audit only into the network.

    Raises:
        UserError: age, sex or site is mapped to a column of the diagnosis, its confirmation, the source or
            the skin tone.
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


def or_folder(said: pd.Series, folder: Path) -> list[str]:
    """The source that the data name for each image, or the name of their folder.

    Args:
        said: text, empty where the data do not say.
        folder: the data folder, or the table itself.
    """
    place = folder.parent if folder.is_file() else folder
    name = os.path.basename(os.path.abspath(place)) or "unknown"  # noqa: PTH100, PTH119 - links stay as laid
    return [name if is_missing(word) else word for word in said]
