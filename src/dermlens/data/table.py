"""The LesionTable: one row an image, who and what it shows, whatever form the source has."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from dermlens.data.config import DataConfig
from dermlens.data.metadata import OLDEST
from dermlens.data.patients import age_of, or_unknown, sex_of
from dermlens.data.readers.diagnoses import classes_of, code_of
from dermlens.data.readers.source import read_source
from dermlens.data.readers.survey import Survey
from dermlens.errors import UserError

IDENTITY = ("image_id", "lesion_id", "dx", "age", "sex", "site")
"""The columns that say which data these are: a table's hash is over them."""


def schema(classes: Sequence[str]) -> pa.DataFrameSchema:
    """What every LesionTable keeps to; `read_table` says the same in sentences before it comes to this."""
    text = pa.Check.str_length(min_value=1)
    return pa.DataFrameSchema(
        {
            "image_id": pa.Column(str, text, unique=True),
            "lesion_id": pa.Column(str, text),
            "dx": pa.Column(str, pa.Check.isin(list(classes))),
            "age": pa.Column(float, pa.Check.in_range(0, OLDEST), nullable=True),
            "sex": pa.Column(str, pa.Check.isin(["female", "male", "unknown"])),
            "site": pa.Column(str, text),
            "path": pa.Column(str, text),
            "dx_type": pa.Column(str, text),
            "dataset": pa.Column(str, text),
            "mask": pa.Column(object, nullable=True),
        },
        index=pa.Index(int),
        strict=True,
        ordered=True,
    )


def read_table(
    folder: Path,
    *,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    check_files: bool = True,
) -> pd.DataFrame:
    """Read a labelled data set into a LesionTable, its form found out from what lies there.

    The forms: HAM10000 as published (one image folder or two, the table beside or above, 7 or 8 columns);
    ISIC 2018 task 3 and ISIC 2019 (one-hot columns, lesion groupings and metadata if they are there); a table
    with the ISIC archive's columns; any CSV with a column map; a folder per class.

    `dx_type` (how a diagnosis was confirmed) and `dataset` are kept for audit and for stratified draws. They
    must never be inputs of a model: lesions that look malignant are the ones that are biopsied, so they give
    the diagnosis away.

    Args:
        folder: the data folder, or the table itself where a folder holds several.
        columns: the source's column by ours, where the source has names of its own: `{"image_id": "img_id"}`;
            several are joined with a plus: `{"lesion_id": "patient_id+lesion_id"}`.
        labels: our class by the source's diagnosis, where it has codes of its own: `{"NEV": "nv"}`.
        classes: the valid classes; none takes the seven of HAM10000 or, where `labels` leads outside them,
            the classes it leads to.
        check_files: whether every listed image must be there.

    Returns:
        A frame with index 0 … N−1 in the source's order: `image_id` (unique), `lesion_id` (the image id where
        the source has none), `dx` (one of the classes), `age` (float years, 0 to 120, NaN where missing),
        `sex` (female, male, unknown), `site` (the source's own words, `unknown` where missing), `path`
        (absolute), `dx_type`, `dataset` (`unknown` where missing), `mask` (absolute path of the lesion mask,
        or None).

    Raises:
        UserError: what is wrong, in one sentence with file and row.
    """
    classes = classes_of(classes, labels)
    rows, found = read_source(Path(folder), columns=columns, known={*classes, *(labels or {})})
    where = rows["where"].tolist()
    _refuse_twice(rows["image_id"].tolist(), where)
    _refuse_unfit(rows["image_id"].tolist(), rows["lesion_id"].tolist(), where)
    dx = [
        code_of(said, row, classes=classes, labels=labels)
        for said, row in zip(rows["dx"], where, strict=True)
    ]
    table = pd.DataFrame(
        {
            "image_id": rows["image_id"],
            "lesion_id": rows["lesion_id"].where(rows["lesion_id"] != "", rows["image_id"]),
            "dx": dx,
            "age": [age_of(said, row) for said, row in zip(rows["age"], where, strict=True)],
            "sex": [sex_of(said, row) for said, row in zip(rows["sex"], where, strict=True)],
            "site": [or_unknown(said) for said in rows["site"]],
            "path": _paths(rows["image_id"].tolist(), where, found, check_files=check_files),
            "dx_type": [or_unknown(said) for said in rows["dx_type"]],
            "dataset": [or_unknown(said) for said in rows["dataset"]],
            "mask": pd.Series([found.masks.get(name) for name in rows["image_id"]], dtype=object),
        }
    )
    validated: pd.DataFrame = schema(classes).validate(table)
    return validated


def read_configured(data: Path, config: DataConfig, *, check_files: bool = True) -> pd.DataFrame:
    """Read a data set as a recipe's `data` section maps its columns and labels.

    Args:
        data: the data folder, or the table itself.
        config: the section.
        check_files: whether every listed image must be there.

    Raises:
        UserError: as `read_table`.
    """
    maps: dict[str, Any] = {"columns": config.columns, "labels": config.labels, "classes": config.classes}
    return read_table(data, **maps, check_files=check_files)


def table_sha256(table: pd.DataFrame) -> str:
    """SHA-256 of who and what a table shows: the columns of `IDENTITY`, not row order or paths."""
    ordered = table.sort_values("image_id")
    ages = ["" if math.isnan(age) else repr(float(age)) for age in ordered["age"]]
    cells = [ages if name == "age" else ordered[name].tolist() for name in IDENTITY]
    lines = ["\t".join(row) for row in zip(*cells, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _refuse_twice(image_ids: list[str], where: list[str]) -> None:
    first: dict[str, str] = {}
    for image_id, row in zip(image_ids, where, strict=True):
        if not image_id:
            raise UserError(f"{row}: no image id; every row names one image")
        if image_id in first:
            raise UserError(
                f"{row}: image {image_id} stands already in {first[image_id]}; an image has one row"
            )
        first[image_id] = row


def _refuse_unfit(image_ids: list[str], lesion_ids: list[str], where: list[str]) -> None:
    """Ids go into CSV files line by line, and an image's names files besides."""
    for image_id, lesion_id, row in zip(image_ids, lesion_ids, where, strict=True):
        for what, said in (("image", image_id), ("lesion", lesion_id)):
            if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in said):
                raise UserError(f"{row}: {what} id {said!r} holds a control character or a line break")
        if "/" in image_id or "\\" in image_id or ".." in image_id:
            raise UserError(f"{row}: image id '{image_id}' is a path; it is a file's name, without '..'")


def _paths(image_ids: list[str], where: list[str], found: Survey, *, check_files: bool) -> list[str]:
    """Absolute paths; where a file is missing and may be, the one it would have."""
    paths = [found.image(image_id) for image_id in image_ids]
    missing = [i for i, path in enumerate(paths) if path is None]
    if missing and check_files:
        name, row = image_ids[missing[0]], where[missing[0]]
        raise UserError(
            f"{row}: image {name} is not in {found.folder}; "
            f"{len(missing)} of {len(paths)} listed images are missing"
        )
    beside = next((Path(path).parent for path in paths if path is not None), found.folder.absolute())
    return [path or str(beside / f"{name}.jpg") for name, path in zip(image_ids, paths, strict=True)]
