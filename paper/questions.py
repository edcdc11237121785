"""The questions of the study, and the predictions that answer them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dermlens.data.predictions import classes_of
from dermlens.errors import UserError
from dermlens.studies.folds import FOLD, IMAGES, read_tables
from dermlens.studies.matrix import load_matrix
from paper.contrasts import Contrast, best_elsewhere
from paper.study import MATRICES, read_published


@dataclass(frozen=True, slots=True)
class Question:
    """A claim of the paper, as it is put to the test.

    Attributes:
        name: of the question.
        asks: in words.
        folder: of the experiment that answers it.
        contrasts: as planned.
        best_of: arm → the arms of which each fold takes the one that is best on the others.
        named: what the arms are that were not trained, in words.
    """

    name: str
    asks: str
    folder: str
    contrasts: tuple[Contrast, ...]
    best_of: dict[str, tuple[str, ...]]
    named: dict[str, str]

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms that the contrasts name, each once."""
        return tuple(dict.fromkeys(arm for one in self.contrasts for arm in (one.reference, one.arm)))

    def words(self) -> dict[str, str]:
        """What each arm is."""
        trained = load_matrix(MATRICES[self.folder]).arms
        return {name: arm.tests for name, arm in trained.items()} | self.named


def load_questions() -> tuple[Question, ...]:
    """The questions as they were planned, in order of importance."""
    document = yaml.safe_load(files(__package__).joinpath("contrasts.yaml").read_text(encoding="utf-8"))
    folders = {matrix: folder for folder, matrix in MATRICES.items()}
    return tuple(_question(entry, folders[entry["matrix"]]) for entry in document)


@cache
def _names() -> dict[str, str]:
    text = files(__package__).joinpath("arms.yaml").read_text(encoding="utf-8")
    return {str(arm): str(words) for arm, words in yaml.safe_load(text).items()}


def name_of(arm: str) -> str:
    """What an arm is called where people read; one without such a name is called by its own."""
    own = arm.removeprefix("told_").removeprefix("given_")
    return _names().get(own, own.replace("_", " "))


def read_arms(results: Path, question: Question) -> dict[str, pd.DataFrame]:
    """Out-of-fold predictions of the arms of a question that are there.

    Args:
        results: what is published of the study.
        question: which.

    Raises:
        UserError: a file is damaged, or is not of the images of the others.
    """
    folder = results / question.folder
    if read_images(folder) is None:
        if any((folder / "predictions").glob("*.csv.gz")):
            raise UserError(f"{folder / IMAGES} is not there, and predictions without it say nothing")
        return {}
    parts = {part for parts in question.best_of.values() for part in parts}
    trained = [
        arm for arm in {*question.arms, *parts} if (folder / "predictions" / f"{arm}.csv.gz").is_file()
    ]
    tables = read_tables(folder, sorted(trained))
    for arm in question.arms:
        if arm not in tables and (path := _reading_of(folder, arm)) is not None:
            tables[arm] = _read_reading(path, folder)
    for arm, choices in question.best_of.items():
        if all(choice in tables for choice in choices):
            tables[arm] = best_elsewhere(tables, choices)
    return {arm: tables[arm] for arm in question.arms if arm in tables}


def read_images(folder: Path) -> pd.DataFrame | None:
    """The images that the arms of a folder were scored on; none where there is no list of them.

    Raises:
        UserError: the list is damaged.
    """
    if not (folder / IMAGES).is_file():
        return None
    return read_published(folder / IMAGES, ["image_id", "lesion_id", "target", FOLD]).astype({"target": str})


def _question(entry: dict[str, Any], folder: str) -> Question:
    contrasts = tuple(
        Contrast(entry["question"], arm, reference, entry["measure"], float(entry["matters"]))
        for arm, reference in entry["contrasts"]
    )
    best_of = {arm: tuple(choices) for arm, choices in entry.get("best_of", {}).items()}
    return Question(entry["question"], entry["asks"], folder, contrasts, best_of, entry.get("named", {}))


def _reading_of(folder: Path, arm: str) -> Path | None:
    return next(iter(sorted((folder / "readings").glob(f"*/{arm}.csv.gz"))), None)


def _read_reading(path: Path, folder: Path) -> pd.DataFrame:
    """A reading's probabilities, with what is known of the images."""
    images = read_images(folder)
    assert images is not None  # the caller has looked
    table = read_published(path, ["image_id"])
    if table["image_id"].tolist() != images["image_id"].tolist():
        raise UserError(f"{path} is not of the images of {folder / IMAGES}, row by row")
    return images.join(table[[f"p_{code}" for code in classes_of(table)]])
