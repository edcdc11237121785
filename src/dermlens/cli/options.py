"""The options that several verbs share: one spelling, one sentence of help each."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.predict.model_files import DOCUMENT_FILE, FILES
from dermlens.targets import file_target, folder_target


def to_file(path: Path | None) -> Path | None:
    """Callback of an option for a file to write: refuse what none may be written to. Raises: UserError."""
    if path is not None:
        file_target(path)
    return path


def to_folder(path: Path | None) -> Path | None:
    """Callback of an option for a folder to write to: refuse what is none. Raises: UserError."""
    if path is not None:
        folder_target(path)
    return path


def to_result(path: Path | None) -> Path | None:
    """Callback of `--out`: refuse, too, what a run, a study or a model keeps of itself. Raises: UserError."""
    if path is not None:
        target = file_target(path)
        inside = next((sign for sign in SIGNS if (target.parent / sign).is_file()), None)
        if inside is not None and target.is_file() and target.name in {*KEPT, *FILES}:
            raise UserError(f"{path} belongs to what {target.parent / inside} is of: name another file")
    return path


SIGNS = ("run.json", "crossfit.json", "ablation.json", "ensemble.json", "search.yaml", DOCUMENT_FILE)
KEPT = {
    *SIGNS, "recipe.yaml", "search.csv", "best.yaml", "journal.log", "subsets.csv", "split.csv",
    "history.csv", "predictions.csv", "predictions.csv.gz", "metrics.json", "test_ledger.csv",
}  # fmt: skip
"""What a folder with such a sign holds besides the files of a model."""


def out_file(what: str, metavar: str = "FILE") -> Any:
    """`--out` where one file is written."""
    return typer.Option("--out", "-o", metavar=metavar, help=what, callback=to_result)


def out_folder(what: str) -> Any:
    """`--out` where a folder is written."""
    return typer.Option("--out", "-o", metavar="DIR", help=what, callback=to_folder)


# Where data are read.


Data = Annotated[
    Path, typer.Option("--data", "-d", metavar="DIR", help="Folder (or CSV) with images and labels.")
]
MaybeData = Annotated[
    Path | None, typer.Option("--data", "-d", metavar="DIR", help="Folder (or CSV) with images and labels.")
]
RunData = Annotated[
    Path | None,
    typer.Option("--data", "-d", metavar="DIR", help="Where the run's own images are, if they have moved."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="OURS=THEIRS", help="Name a column of your table: image_id=Datei."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="OURS=THEIRS", help="Name your word for a class: akiec=ACK."),
]
ValueMaps = Annotated[
    list[str] | None,
    typer.Option(
        "--value",
        metavar="FIELD.OURS=THEIRS",
        help="Name your word for an age, a sex or a site: sex.male=h, site.unknown=x.",
    ),
]
Classes = Annotated[
    str | None, typer.Option("--classes", metavar="A,B,…", help="Your own classes, comma-separated.")
]
Skip = Annotated[
    list[str] | None,
    typer.Option(
        "--skip",
        metavar="THEIRS",
        help="Leave out images with this diagnosis; unknown: images without one.",
    ),
]

# What is trained, and by what.


RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory, as `dermlens train` makes it.")
]
RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe's file or name; see `dermlens model recipes`.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a key of the recipe."),
]
Role = Annotated[
    str, typer.Option("--role", help="Images to answer: selection, calibration, or an opened test.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Where decoded pixels are kept (else $DERMLENS_CACHE, ~/.cache/dermlens).", callback=to_folder
    ),
]
Photographs = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Also pieces of ordinary photographs, which are written to this folder.",
        callback=to_folder,
    ),
]

# What is answered.


Model = Annotated[
    Path | None,
    typer.Option("--model", metavar="DIR", help="Another model than the one that ships with dermlens."),
]
Age = Annotated[str | None, typer.Option(help="Of the patient, in years.")]
Sex = Annotated[str | None, typer.Option(help="female or male.")]
Site = Annotated[str | None, typer.Option(help="Where on the body: back, face, lower extremity, …")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
CaseMix = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="MIX",
        help="Case mix that probabilities hold for: specialist, equal, ham10000, or a share of each class,"
        " as mel=0.2,nv=0.8,… Else the model's own.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, help="Of the network; as many as there are cores, by a container's quota too."
    ),
]


def pairs(words: list[str] | None, option: str, *, empty: bool = False) -> dict[str, str]:
    """`a=b` words as a mapping.

    Args:
        words: as they were given.
        option: their option, for errors.
        empty: whether `a=` is one too.

    Raises:
        UserError: one is not of that form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for word in words or []:
        key, value = _pair(word, option, empty=empty)
        if key in found:
            raise UserError(f"{option} names {key} twice")
        found[key] = value
    return found


def named_folders(words: list[str] | None, option: str) -> dict[str, Path]:
    """`DIR` or `NAME=DIR` words as folders by name; a folder without a name has its own.

    Raises:
        UserError: a name comes twice.
    """
    named = [word if "=" in word else f"{Path(word).resolve().name}={word}" for word in words or []]
    return {name: Path(folder) for name, folder in pairs(named, option).items()}


class SourceMaps(TypedDict):
    """How names in someone's table become ours, as `read_table` takes it."""

    columns: dict[str, str]
    labels: dict[str, str]
    values: dict[str, list[str]]


def source_maps(
    columns: list[str] | None,
    labels: list[str] | None,
    values: list[str] | None,
    skip: list[str] | None,
    classes: str | None = None,
) -> SourceMaps:
    """`--column`, `--label`, `--value` and `--skip` as `read_table` takes them.

    Raises:
        UserError: one is not OURS=THEIRS, or a word of theirs is two of ours.
    """
    codes: dict[str, str] = {}
    known = {*CLASSES, *(names(classes) or ())}
    for word in labels or []:
        ours, equals, theirs = word.partition("=")
        if equals and bool(ours) != bool(theirs):
            one = shlex.quote(ours or theirs)
            raise UserError(f"--label {word}: to leave a diagnosis out, write --skip {one}")
        ours, theirs = _pair(word, "--label")
        if theirs in known and ours not in known:
            raise UserError(f"--label {word}: our class comes first, as in --label {theirs}={ours}")
        if codes.get(theirs, ours) != ours:
            raise UserError(f"--label names {theirs} twice")
        codes[theirs] = ours
    for word in skip or []:
        if codes.get(word):
            raise UserError(f"--skip {word}: --label makes that {codes[word]}; leave one of the two out")
        codes[word] = ""
    words: dict[str, list[str]] = {}
    for word in values or []:
        ours, theirs = _pair(word, "--value")
        words.setdefault(ours, []).append(theirs)
    return {"columns": pairs(columns, "--column", empty=True), "labels": codes, "values": words}


def recipe_overrides(overrides: list[str] | None, maps: SourceMaps, classes: str | None) -> list[str]:
    """`--set`, and then what says how data are read, in the place of what the recipe says of it."""
    found = {key: value for key, value in maps.items() if value}
    if (codes := names(classes)) is not None:
        found["classes"] = codes
    settings = [f"data.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in found.items()]
    return [*(overrides or ()), *settings]


def names(words: str | None) -> tuple[str, ...] | None:
    """Comma-separated words, or none."""
    return tuple(words.split(",")) if words else None


def _pair(word: str, option: str, *, empty: bool = False) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not (equals and key and (value or empty)):
        raise UserError(f"{option} {word}: write it as {option} a=b")
    return key, value
