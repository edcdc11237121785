"""Answers of several parts of one job, as one file: an image has one answer, or the files disagree."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dermlens.errors import UserError
from dermlens.files import atomic_path, read_json
from dermlens.predict.sources.tables import is_formula
from dermlens.targets import check_apart

Part = tuple[Any, list[dict[str, Any]], dict[str, str]]
"""What all parts must have in common; the answers; why some images have none."""


def merge(paths: Sequence[Path], out: Path) -> int:
    """Join files of answers, in their order; an answer that stands in several, the same, is written once.

    Args:
        paths: CSV or JSON files of `dermlens predict`, of one model, version and case mix.
        out: of the same kind.

    Returns:
        How many answers it has.

    Raises:
        UserError: a file is none, the parts are of other models or case mixes, or they answer an image
            differently.
    """
    kinds = {path.suffix.lower() for path in (*paths, out)}
    if len(kinds) > 1 or not kinds <= {".csv", ".json"}:
        raise UserError("merge joins CSV files into a CSV file, or JSON files into a JSON file")
    check_apart(out, paths)
    if absent := [path for path in paths if not path.is_file()]:
        raise UserError(f"{absent[0]} does not exist, or is no file")
    found: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, str] = {}
    parts = [(_read_csv if kinds == {".csv"} else _read_json)(path) for path in paths]
    for path, (heading, answers, without) in zip(paths, parts, strict=True):
        if heading != parts[0][0]:
            raise UserError(f"{path} has other columns, or is of another model or case mix, than {paths[0]}")
        for one in answers:
            name = str(one.get("lesion_id", one.get("image_id")))
            if found.setdefault(name, one) != one:
                raise UserError(f"{path} answers {name} otherwise than a file before it: keep one of the two")
        unreadable |= without
    with atomic_path(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        if kinds == {".csv"}:
            writer = csv.DictWriter(file, parts[0][0]["columns"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(found.values())
        else:
            left = {name: why for name, why in unreadable.items() if name not in found}
            document = parts[0][0] | {"answers": list(found.values()), "unreadable": left}
            file.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return len(found)


def _read_csv(path: Path) -> Part:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        rows = list(_rows(path, reader))
    return {"columns": reader.fieldnames, "prior": {row["prior"] for row in rows}}, rows, {}


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    try:
        names = list(reader.fieldnames or ())
        if names[:1] not in (["image_id"], ["lesion_id"]) or not {"state", "prior"} <= set(names):
            raise UserError(f"{path} is no file of answers, as dermlens predict --out writes it")
        for row in reader:
            if None in row or None in row.values() or is_formula(row[names[0]]):
                raise UserError(f"{path}, line {reader.line_num}: not a row of answers")
            yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8: {error}") from error


def _read_json(path: Path) -> Part:
    content = read_json(path)
    try:
        answers, unreadable = list(content.pop("answers")), dict(content.pop("unreadable"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no file of answers, as dermlens predict --out writes it") from error
    if not all(isinstance(one, dict) and {"lesion_id", "image_id"} & set(one) for one in answers):
        raise UserError(f"{path} has an answer without image_id or lesion_id")
    return content, answers, unreadable
