"""Which images belong together: one lesion under one id or several, the very same file, one patient.

HAM10000 gives some lesions two or three ids, and data sets share lesions. Lists of those found so far (image
features matched under a geometric check, then looked at: a lower bound) ship beside this file; they also name
images of the official ISIC 2018 test and validation sets which show a lesion of HAM10000.
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
    lesion_of_image = dict(zip(table["image_id"], table["lesion_id"], strict=True))
    joins = [*_known_joins(lesion_of_image), *_content_joins(table)]
    return table["lesion_id"].map(_joined(table["lesion_id"], joins)).rename("group")


def patient_groups(table: pd.DataFrame) -> pd.Series[str]:
    """The group of every image that no split may part: all lesions of a known patient.

    Args:
        table: as for `lesion_groups`, with `patient_id` where patients are known.

    Returns:
        The group's name (the least of its lesion ids) for each row, on the table's index; those of
        `lesion_groups` where no patient is known.
    """
    groups = lesion_groups(table)
    if "patient_id" not in table:
        return groups
    patients = table["patient_id"].dropna()
    joins = [set(members) for _, members in groups[patients.index].groupby(patients)]
    return groups.map(_joined(groups, joins)).rename("group")


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


def _joined(names: Iterable[str], joins: Iterable[set[str]]) -> dict[str, str]:
    """The least name that each name is joined with, directly or by others."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for joined in joins:
        roots = {root(name) for name in joined if name in parent}
        for other in roots:
            parent[other] = min(roots)
    return {name: root(name) for name in parent}


GROUP_LISTS = ("same_lesion_other_id.csv", "shared_lesions.csv")
"""Shipped lists of lesions with several ids: `lesion_group`, `image_id`, `lesion_id`. A group's name is its
list's own."""


@cache
def same_lesion_list() -> tuple[tuple[str, str, str], ...]:
    """The shipped lists as one: rows of (group, image id, lesion id)."""
    rows = []
    for name in GROUP_LISTS:
        text = (files("dermlens.data") / "manifests" / name).read_text(encoding="utf-8")
        rows += [
            (f"{name}/{row['lesion_group']}", row["image_id"], row["lesion_id"])
            for row in csv.DictReader(text.splitlines())
        ]
    return tuple(rows)


def of_shared_lesions(image_ids: Iterable[str], others: Iterable[str]) -> set[str]:
    """Which images show a lesion that another data set has a picture of, by the shipped list.

    The list holds lesions that HAM10000, ISIC 2017 and MILK10k share, or have under two ids; each pair was
    looked at. It is a lower bound.

    Args:
        image_ids: of one set.
        others: of the other.
    """
    text = (files("dermlens.data") / "manifests" / "shared_lesions.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    theirs = set(others)
    groups = {row["lesion_group"] for row in rows if row["image_id"] in theirs}
    return {row["image_id"] for row in rows if row["lesion_group"] in groups} & set(image_ids)


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
