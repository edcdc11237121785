"""Which images show one lesion: same lesion id, a known second id, or the very same file.

HAM10000 gives some lesions two or three ids. The list of those found so far (image features matched under a
geometric check, then looked at: a lower bound) ships beside this file; it also names images of the official
ISIC 2018 test and validation sets which show a lesion of HAM10000.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

import pandas as pd


def lesion_groups(table: pd.DataFrame) -> pd.Series[str]:
    """The group of every image: two images of one lesion are in one group, whatever their ids.

    Lesion ids are joined where the shipped list says that they are one lesion, and where two images hold the
    same bytes. Joins are transitive.

    Args:
        table: with `image_id` and `lesion_id`, and `path` where files shall be compared.

    Returns:
        The group's name (the least of its lesion ids) for each row, on the table's index.
    """
    parent = {lesion: lesion for lesion in table["lesion_id"]}

    def root(lesion: str) -> str:
        while parent[lesion] != lesion:
            lesion = parent[lesion]
        return lesion

    lesion_of_image = dict(zip(table["image_id"], table["lesion_id"], strict=True))
    for joined in [*_known_joins(lesion_of_image), *_content_joins(table)]:
        roots = {root(lesion) for lesion in joined if lesion in parent}
        for other in roots:
            parent[other] = min(roots)
    return table["lesion_id"].map({lesion: root(lesion) for lesion in parent}).rename("group")


def contents(paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files that might equal another of them.

    A file whose size no other file has cannot have a copy, so it is not read. Absent files are left out:
    they are for the reader of the table to report.

    Args:
        paths: of the images.

    Returns:
        Path to digest, for every file that shares its size with another; kept in memory between calls.
    """
    stats = {path: Path(path).stat() for path in paths if Path(path).is_file()}
    sizes = pd.Series([stat.st_size for stat in stats.values()], dtype="int64").value_counts()
    return {
        path: _digest(path, stat.st_size, stat.st_mtime_ns)
        for path, stat in stats.items()
        if sizes[stat.st_size] > 1
    }


@cache
def same_lesion_list() -> tuple[tuple[str, str, str], ...]:
    """The shipped list of lesions with several ids: rows of (group, image id, lesion id)."""
    text = (files("dermlens.data") / "manifests" / "same_lesion_other_id.csv").read_text(encoding="utf-8")
    return tuple(
        (row["lesion_group"], row["image_id"], row["lesion_id"]) for row in csv.DictReader(text.splitlines())
    )


def _known_joins(lesion_of_image: dict[str, str]) -> list[set[str]]:
    """Lesion ids of each listed group, both as listed and as this table names the listed images."""
    joins: dict[str, set[str]] = {}
    for group, image, lesion in same_lesion_list():
        joins.setdefault(group, set()).update({lesion, lesion_of_image.get(image, lesion)})
    return list(joins.values())


def _content_joins(table: pd.DataFrame) -> list[set[str]]:
    """Sets of lesion ids that share an image byte for byte."""
    if "path" not in table:
        return []
    digests = contents(table["path"])
    joins: dict[str, set[str]] = {}
    for path, lesion in zip(table["path"], table["lesion_id"], strict=True):
        if path in digests:
            joins.setdefault(digests[path], set()).add(lesion)
    return [lesions for lesions in joins.values() if len(lesions) > 1]


@lru_cache(maxsize=200_000)
def _digest(path: str, _size: int, _modified_ns: int) -> str:
    """SHA-256 of a file; size and time of change are there so that a changed file is read again."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
