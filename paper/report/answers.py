"""The questions' answers: planned contrasts, where attention goes, and what was looked at afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermlens.metrics import Floats
from paper.attention_mass import COLUMNS as ATTENTION_COLUMNS
from paper.attention_mass import summarise
from paper.contrasts import (
    COLUMNS,
    Contrast,
    correct,
    draw_differences,
    draw_enough,
    measure_contrasts,
    present,
    rows_of,
)
from paper.questions import Question, load_questions, read_arms, read_images
from paper.study import read_published

# The questions' answers: planned contrasts, and where attention goes.


REPLICATES = 10_000
"""Draws at a time; a contrast whose verdict hangs on them is drawn on, see `enough_draws`."""
SEED = 0


@dataclass(frozen=True)
class Answer:
    """A question and what was found.

    Attributes:
        question: as planned.
        rows: its contrasts that were run, Holm's correction over all that were planned done.
        missing: the contrasts that were not run, arm and reference.
    """

    question: Question
    rows: pd.DataFrame
    missing: list[tuple[str, str]]


def answer_all(results: Path) -> list[Answer]:
    """Every question, from what is published.

    Raises:
        UserError: a table is damaged.
    """
    questions = load_questions()
    family = sum(len(question.contrasts) for question in questions)
    places: list[tuple[dict[str, pd.DataFrame], Contrast]] = []
    for folder in dict.fromkeys(question.folder for question in questions):  # one draw for all of its arms
        own = [question for question in questions if question.folder == folder]
        tables: dict[str, pd.DataFrame] = {}
        for question in own:
            tables |= read_arms(results, question)
        planned = [one for question in own for one in question.contrasts]
        places += [(tables, one) for one in present(tables, planned)]

    def draw(which: Sequence[int], batch: int) -> list[Floats]:
        """A batch of differences; contrasts of one folder share their draws."""
        found: dict[int, Floats] = {}
        for tables in {id(places[index][0]): places[index][0] for index in which}.values():
            own = [index for index in which if places[index][0] is tables]
            wanted = [places[index][1] for index in own]
            drawn = draw_differences(tables, wanted, replicates=REPLICATES, seed=SEED + batch)
            found |= dict(zip(own, drawn, strict=True))
        return [found[index] for index in which]

    drawn = draw_enough(draw, len(places), family, batch=REPLICATES)
    rows = [rows_of(tables, [one], [own]) for (tables, one), own in zip(places, drawn, strict=True)]
    corrected = (
        correct(pd.concat(rows, ignore_index=True), family) if rows else pd.DataFrame(columns=list(COLUMNS))
    )
    return [_answer(question, corrected) for question in questions]


def read_attention(results: Path) -> dict[str, pd.DataFrame]:
    """Where attention goes, by arm, as `summarise` gives it; arms that were not read are left out."""
    found = {}
    for folder in sorted((results / "questions" / "readings").glob("attention_*")):
        found[folder.name.removeprefix("attention_")] = summarise(
            read_published(folder / "attention.csv.gz", ATTENTION_COLUMNS, ATTENTION_COLUMNS[4:])
        )
    return found


def _answer(question: Question, corrected: pd.DataFrame) -> Answer:
    rows = corrected[corrected["question"] == question.name].reset_index(drop=True)
    run = set(zip(rows["arm"], rows["reference"], strict=True))
    missing = [(one.arm, one.reference) for one in question.contrasts if (one.arm, one.reference) not in run]
    return Answer(question, rows, missing)


# Numbers that no plan named: looked at once the arms were there, with intervals and without p-values.
#
# They stand in tables/afterwards.csv, so that what docs/paper.md says of them can be followed.


AFTERWARDS_COLUMNS = (
    "what",
    "arm",
    "reference",
    "measure",
    "images",
    "value",
    "reference_value",
    "difference",
    "low",
    "high",
)
SIBLINGS, MELANOMAS = "images with siblings", "melanomas with siblings"
GIVEN_NOTHING = Contrast("given", "given_nothing", "no_metadata", "mean_recall", 0.0)


def look_afterwards(results: Path, *, replicates: int, seed: int) -> pd.DataFrame:
    """Accuracy with every contrast of mean recall, the leak where images have siblings, and one more pair.

    Args:
        results: of the study.
        replicates: of the two-level bootstrap.
        seed: of it.

    Returns:
        A row each, with `COLUMNS`.
    """
    rows = []
    together: dict[str, pd.DataFrame] = {}
    compared: list[Contrast] = []
    for question in load_questions():
        tables = read_arms(results, question)
        if question.name == "leak":
            rows += _of_siblings(results, question, tables, replicates=replicates, seed=seed)
            continue
        pairs = [(one.arm, one.reference) for one in question.contrasts if one.measure == "mean_recall"]
        compared += [Contrast(question.name, *pair, "accuracy", 0.0) for pair in pairs]
        together |= tables
    rows.append(_measured(None, together, [*compared, GIVEN_NOTHING], replicates, seed))
    known = [row for row in rows if len(row)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=list(AFTERWARDS_COLUMNS))


def _of_siblings(
    results: Path, question: Question, tables: Mapping[str, pd.DataFrame], *, replicates: int, seed: int
) -> list[pd.DataFrame]:
    """The leak where there is one: on lesions with several images."""
    images = read_images(results / "questions")
    if images is None or not tables:
        return []
    several = images.groupby("lesion_id")["image_id"].size()
    lesions = set(several[several > 1].index)
    found = []
    for what, kept in ((SIBLINGS, None), (MELANOMAS, "mel")):
        parts = {}
        for arm, table in tables.items():
            rows = table["lesion_id"].isin(lesions) & ((table["target"] == kept) if kept else True)
            parts[arm] = table[rows].reset_index(drop=True)
        contrasts = [Contrast(question.name, "leaky", "clean", "accuracy", 0.0)]
        found.append(_measured(what, parts, contrasts, replicates, seed))
    return found


def _measured(
    what: str | None,
    tables: Mapping[str, pd.DataFrame],
    contrasts: list[Contrast],
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    rows = measure_contrasts(tables, contrasts, replicates=replicates, seed=seed)
    return rows.assign(what=what or rows["question"])[list(AFTERWARDS_COLUMNS)]
