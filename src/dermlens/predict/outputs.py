"""What a model gives besides single answers: tables on a terminal, parts of a job merged, features.

Shapes: N images, D features.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dermlens.errors import UserError, require
from dermlens.files import atomic_path, read_json
from dermlens.labels import Vocabulary
from dermlens.predict.answers import Answer, described, percent
from dermlens.predict.decoding import PICTURE_MEMORY, Worker
from dermlens.predict.patients import find_images
from dermlens.predict.picture import Needs
from dermlens.predict.pictures.preprocessing import Numbers
from dermlens.predict.predictor import Predictor
from dermlens.predict.priors import ClassPrior, shares_by_class
from dermlens.predict.sources.tables import is_formula
from dermlens.targets import check_apart

Found = TypeVar("Found")
NONE = "–"


def progress(found: Iterable[Found], count: int) -> Iterator[Found]:
    """Pass on what is found, with a bar on standard error where that is a terminal and there are several."""
    if count < 2 or not sys.stderr.isatty():
        yield from found
        return
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(found, total=count)


def render_answers(
    predictor: Predictor, answers: Mapping[str, Answer], prior: ClassPrior | None
) -> RenderableType:
    """One image in full, several in a row each, and what must be known to read them."""
    parts: list[RenderableType] = [_in_rows(answers)]
    if len(answers) == 1:
        ((name, one),) = answers.items()
        of = f": lesion of {len(one.images)} images ({', '.join(one.images)})" if len(one.images) > 1 else ""
        parts = [Text(f"{name}{of}\n", style="bold"), *(Text(sentence) for sentence in one.sentences)]
        parts += [] if one.p is None else [_in_full(one, one.p, predictor.vocabulary)]
    numbers = any(one.p is not None for one in answers.values())
    return Group(*parts, *map(Text, notes(predictor, prior) if numbers else predictor.limits))


def notes(predictor: Predictor, prior: ClassPrior | None) -> Iterator[str]:
    """What belongs with every answer."""
    shown = prior or predictor.decision.prior
    if shown is None:
        yield "Nobody has calibrated this model: its probabilities are the network's own."
    else:
        shares = shares_by_class(shown, predictor.classes) or {}
        parts = ", ".join(f"{code} {percent(share)}" for code, share in shares.items())
        yield f"The probabilities hold for the case mix “{shown.name}”, {shown.words}: {parts}."
    yield from predictor.limits


def _in_full(one: Answer, p: Mapping[str, float], names: Vocabulary) -> Table:
    table = Table()
    table.add_column("diagnosis")
    table.add_column("probability", justify="right")
    table.add_column("cannot be ruled out")
    for code, share in sorted(p.items(), key=lambda entry: -entry[1]):
        inside = "yes" if code in (one.set or ()) else ""
        table.add_row(Text(described(code, names)), percent(share), inside)
    return table


def _in_rows(answers: Mapping[str, Answer]) -> Table:
    table = Table()
    what = "lesion" if any(one.images for one in answers.values()) else "image"
    for name in (what, "flagged", "most likely", "probability", "cannot be ruled out", "state"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for image_id, one in answers.items():
        state = one.state if not one.reason else f"{one.state}: {one.reason}"
        table.add_row(
            Text(image_id),
            NONE if one.flagged is None else "FLAGGED" if one.flagged else "no",
            Text(one.name or NONE),
            NONE if one.p is None or one.diagnosis is None else percent(one.p[one.diagnosis]),
            Text(NONE if one.set is None else " ".join(one.set)),
            Text(state),
        )
    return table


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
    of = {name: {row.get(name) for row in rows} for name in ("prior", "model")}
    return {"columns": reader.fieldnames, **of}, rows, {}


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


SUFFIXES = (".npz", ".parquet")


@dataclass(frozen=True, slots=True)
class Embedded:
    """Images that were embedded, and those that could not be.

    Attributes:
        image_ids: in the order of the rows.
        features_ND: what the last layer sees of each image as it is; age, sex and site have no part in it.
        unreadable: the sentence for each other image, by its id.
        doubts: sentences on files that were left out.
    """

    image_ids: tuple[str, ...]
    features_ND: Numbers
    unreadable: dict[str, str]
    doubts: list[str]


def embed(predictor: Predictor, images: Sequence[Path]) -> Embedded:
    """Embed images, or folders of them.

    Args:
        predictor: the model.
        images: files and folders.

    Raises:
        UserError: a path is not there, a folder holds no images, or not one image can be read.
    """
    found = find_images(images)
    rows: dict[str, Numbers] = {}
    unreadable = dict(found.unreadable)
    worker = Worker(Needs.of(predictor.document), PICTURE_MEMORY)
    try:
        for image_id, path in found.images.items():
            picture = worker.picture(path, image_id)
            if isinstance(picture, str):
                unreadable[image_id] = picture
            else:
                rows[image_id] = predictor.features([picture])[0]
    finally:
        worker.close()
    if not rows:
        raise UserError("; ".join(unreadable.values()))
    return Embedded(tuple(rows), np.stack(list(rows.values())), unreadable, found.doubts)


def check_format(path: Path) -> None:
    """Refuse a file of another kind, before what takes long. Raises: UserError."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {path}: features are written as {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".parquet":
        require("pyarrow", "parquet")


def write_features(path: Path, embedded: Embedded) -> None:
    """Write features: `image_id` and `features` in .npz; `image_id`, `feature_0` … in .parquet."""
    check_format(path)
    with atomic_path(path) as part, part.open("wb") as file:
        if path.suffix.lower() == ".npz":
            np.savez_compressed(file, image_id=np.array(embedded.image_ids), features=embedded.features_ND)
            return
        arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
        columns: Mapping[str, object] = {
            f"feature_{index}": column for index, column in enumerate(embedded.features_ND.T)
        }
        parquet.write_table(arrow.table({"image_id": list(embedded.image_ids), **columns}), file)
