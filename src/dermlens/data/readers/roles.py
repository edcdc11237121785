"""Roles that a source gives its images: folders train/, val/ and test/, or a column that says so."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dermlens.data.readers.sheet import Sheet
from dermlens.data.vocabulary import plain

ROLE_OF_WORD = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "selection",
    "valid": "selection",
    "validation": "selection",
    "dev": "selection",
    "development": "selection",
    "tuning": "selection",
    "selection": "selection",
    "calibration": "calibration",
    "test": "test",
    "tst": "test",
    "testing": "test",
    "holdout": "test",
    "eval": "test",
}
COLUMN = re.compile(r"(.*_)?(split|role|subset|partition|set|fold|phase|group)")


def role_of_folders(folders: Sequence[str]) -> str:
    """The role that the nearest folder with a role's word in its name gives; empty where none does."""
    for folder in reversed(folders):
        roles = {ROLE_OF_WORD[word] for word in plain(folder).split() if word in ROLE_OF_WORD}
        if len(roles) == 1:
            return roles.pop()
    return ""


def role_column(sheet: Sheet) -> str | None:
    """The column whose cells are all words for roles, or empty."""
    for name in sheet.header:
        if COLUMN.fullmatch(plain(name).replace(" ", "_")):
            words = {plain(cell) for cell in sheet.column(name)} - {""}
            if words and words <= set(ROLE_OF_WORD):
                return name
    return None


def role_of_word(word: str) -> str:
    """The role that a cell gives; empty where it gives none."""
    return ROLE_OF_WORD.get(plain(word), "")
