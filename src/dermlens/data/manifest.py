"""The split manifest: a CSV of image_id, lesion_id, role under a header that says how it was made."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pandas as pd

from dermlens.data.config import Role
from dermlens.data.table import table_sha256
from dermlens.errors import UserError, nearest
from dermlens.files import write_text

VERSION = "1"
COLUMNS = ("image_id", "lesion_id", "role")
ROLES: tuple[str, ...] = get_args(Role)
PROTOCOLS = ("paper", "grouped", "singletons", "given", "siblings", "sources")
BY_LESION = ("grouped", "sources")
"""Protocols under which no lesion may be in two roles."""
SHIPPED = ("grouped-v1", "sources-v1")
"""Manifests that come with dermlens: package data, `manifests/<name>.csv`."""
HOME = "grouped-v1"
"""The manifest whose test role is the project's own."""
REMEDY = (
    "make one with `dermlens data split` and name it in --set split.manifest=FILE, or let --set "
    "split.manifest=null have one drawn for these data"
)

_FOLD = re.compile(r"fold-(0|[1-9][0-9]*)")


@dataclass(frozen=True, eq=False)
class Split:
    """Which image plays which role.

    Attributes:
        roles: columns `image_id`, `lesion_id`, `role`, sorted by image id, index 0 … N−1. A role is train,
            selection, calibration or test; where folds are not resolved yet, `fold-0` … and test.
        header: how it was made: `manifest` (version of the form), `protocol`, `seed`, `fractions`, `folds`
            and `fold` where there are any, `table-sha256`.
    """

    roles: pd.DataFrame
    header: dict[str, str]

    @property
    def protocol(self) -> str:
        """What the split is held to. A manifest that declares nothing is held to `grouped`, the strictest."""
        return self.header.get("protocol", "grouped")

    @property
    def folds(self) -> int:
        """How many folds wait to be resolved; 0 where the roles are final."""
        return int(self.roles.loc[self.roles["role"].str.startswith("fold-"), "role"].nunique())

    @property
    def role_names(self) -> list[str]:
        """The roles in use: train, selection, calibration, folds in order, test."""
        return sorted(self.roles["role"].unique(), key=_order)

    def ids(self, role: str) -> list[str]:
        """The image ids of a role, sorted; none where the role is not in use."""
        return self.roles.loc[self.roles["role"] == role, "image_id"].tolist()

    def summary(self, table: pd.DataFrame) -> pd.DataFrame:
        """Counts by role and class.

        Args:
            table: the LesionTable that the split was made for.

        Returns:
            Integers; a row per role and unit (`images`, `lesions`), a column per class present and `all`.
        """
        rows = self.roles.merge(table[["image_id", "dx"]], on="image_id", validate="one_to_one")
        images = pd.crosstab(rows["role"], rows["dx"])
        once = rows.drop_duplicates(["role", "dx", "lesion_id"])
        lesions = pd.crosstab(once["role"], once["dx"])
        # A lesion whose images disagree in class is counted under each of them, and once in all.
        lesions["all"] = rows.groupby("role")["lesion_id"].nunique()
        images["all"] = images.sum(axis=1)
        both = pd.concat({"images": images, "lesions": lesions}, names=["unit", "role"]).swaplevel()
        both.columns.name = None
        return both.loc[[(role, unit) for role in self.role_names for unit in ("images", "lesions")]]

    def counts(self, table: pd.DataFrame) -> dict[str, dict[str, int]]:
        """Images by role and class, every class of the table with its number, 0 too."""
        rows = self.roles.merge(table[["image_id", "dx"]], on="image_id", validate="one_to_one")
        found = pd.crosstab(rows["role"], rows["dx"])
        classes = [str(dx) for dx in found.columns]
        rows_of = dict(zip(found.index, found.to_numpy().tolist(), strict=True))
        return {role: dict(zip(classes, rows_of[role], strict=True)) for role in self.role_names}

    def text(self) -> str:
        """The manifest as it stands in a file; the same split gives the same text."""
        buffer = io.StringIO()
        buffer.writelines(f"# {key}: {value}\n" for key, value in self.header.items())
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(self.roles[list(COLUMNS)].itertuples(index=False))
        return buffer.getvalue()

    def save(self, path: Path) -> None:
        """Write the manifest, whole or not at all."""
        write_text(path, self.text())


def shipped_rows(name: str) -> list[dict[str, str]]:
    """The rows of a CSV next to the manifests that come with dermlens."""
    text = (files("dermlens.data") / "manifests" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def make_roles(table: pd.DataFrame, role_of_image: Mapping[str, str]) -> pd.DataFrame:
    """The `roles` frame of a Split: the table's images that have a role, sorted by image id."""
    kept = table.loc[table["image_id"].isin(list(role_of_image)), ["image_id", "lesion_id"]]
    kept = kept.sort_values("image_id", ignore_index=True)
    return kept.assign(role=kept["image_id"].map(role_of_image))


def load_manifest(name_or_path: str, table: pd.DataFrame | None = None, remedy: str = REMEDY) -> Split:
    """Read a manifest that ships with dermlens, or one from a file.

    Args:
        name_or_path: one of `SHIPPED`, or the path of a CSV.
        table: the LesionTable that it shall be for; none skips that check.
        remedy: what to do about another table.

    Raises:
        UserError: no such manifest, a malformed row, an unknown role, an image twice, another table.
    """
    if name_or_path in SHIPPED:
        text = (files("dermlens.data") / "manifests" / f"{name_or_path}.csv").read_text(encoding="utf-8")
    else:
        text = _read(name_or_path)
    split = _parse(name_or_path, text)
    if table is not None:
        _check_table(name_or_path, split, table, remedy)
    return split


def _read(path: str) -> str:
    if not Path(path).is_file():
        if Path(path).suffix or len(Path(path).parts) > 1:
            raise UserError(
                f"split manifest {path} does not exist; give a CSV file or one of: {', '.join(SHIPPED)}"
            )
        raise UserError(
            f"split manifest '{path}' is neither a file nor one of dermlens{nearest(path, SHIPPED)}"
        )
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise UserError(
            f"split manifest {path} is not UTF-8 text; it must be a CSV of {', '.join(COLUMNS)}"
        ) from error


def _parse(name: str, text: str) -> Split:
    text = unicodedata.normalize("NFC", text)  # as tables have their ids
    # Not splitlines(), which parts at U+2028 and others that may stand in an id.
    lines = list(io.StringIO(text, newline=""))
    body = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    header = {}
    for number, line in enumerate(lines[:body], start=1):
        key, colon, value = line.lstrip("#").partition(":")
        if not colon:
            stated = line.rstrip("\r\n")
            raise UserError(f"split manifest {name}, line {number}: '{stated}' should read '# key: value'")
        header[key.strip()] = value.strip()
    if header.get("manifest", VERSION) != VERSION:
        raise UserError(
            f"split manifest {name} has form {header['manifest']}, and this dermlens reads form {VERSION}: "
            "use the version of dermlens that made it, or make one with `dermlens data split`"
        )
    if header.get("protocol", "grouped") not in PROTOCOLS:
        protocol = header["protocol"]
        raise UserError(
            f"split manifest {name}: protocol '{protocol}' is not known{nearest(protocol, PROTOCOLS)}"
        )
    try:
        rows = list(csv.reader(lines[body:]))
    except csv.Error as error:
        raise UserError(f"split manifest {name} is no CSV file: {error}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise UserError(f"split manifest {name}, line {body + 1}: the columns must be {','.join(COLUMNS)}")
    if len(rows) == 1:
        raise UserError(f"split manifest {name} lists no image; make one with `dermlens data split`")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=body + 2):
        _check_row(name, number, row, seen)
    roles = pd.DataFrame(rows[1:], columns=list(COLUMNS)).sort_values("image_id", ignore_index=True)
    split = Split(roles, header)
    folds = [f"fold-{fold}" for fold in range(split.folds)]
    if folds and [role for role in split.role_names if role != "test"] != folds:
        raise UserError(
            f"split manifest {name} mixes roles {', '.join(split.role_names)}: "
            "folds count from fold-0 without a gap, with test in addition and no other role"
        )
    return split


def _check_row(name: str, number: int, row: list[str], seen: dict[str, int]) -> None:
    where = f"split manifest {name}, line {number}"
    if len(row) != len(COLUMNS) or not all(row):
        raise UserError(f"{where}: '{','.join(row)}' should read {','.join(COLUMNS)}")
    image, _, role = row
    if role not in ROLES and not _FOLD.fullmatch(role):
        raise UserError(f"{where}: role '{role}' is not known{nearest(role, (*ROLES, 'fold-0'))}")
    if image in seen:
        raise UserError(f"{where}: image {image} is on line {seen[image]} already; each image has one role")
    seen[image] = number


def _check_table(name: str, split: Split, table: pd.DataFrame, remedy: str) -> None:
    made_for, given = split.header.get("table-sha256"), table_sha256(table)
    if made_for is not None and made_for != given:
        raise UserError(
            f"split {name} was made for another table (its SHA-256 begins {made_for[:12]}, this table's "
            f"{given[:12]}): {remedy}"
        )
    lesion_of_image = dict(zip(table["image_id"], table["lesion_id"], strict=True))
    missing = [image for image in split.roles["image_id"] if image not in lesion_of_image]
    if missing:
        raise UserError(
            f"split {name} names {len(missing)} images that the table does not have, {missing[0]} for one: "
            f"{remedy}"
        )
    for image, lesion in zip(split.roles["image_id"], split.roles["lesion_id"], strict=True):
        if lesion != lesion_of_image[image]:
            raise UserError(
                f"split {name} gives image {image} to lesion {lesion}, the table to "
                f"{lesion_of_image[image]}: {remedy}"
            )


def _order(role: str) -> tuple[int, int]:
    """Where a role stands in lists: folds by number, between calibration and test."""
    fold = _FOLD.fullmatch(role)
    return (ROLES.index("calibration"), 1 + int(fold[1])) if fold else (ROLES.index(role), 0)
