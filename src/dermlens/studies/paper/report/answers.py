"""The questions' answers: planned contrasts, and where attention goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermlens.metrics import Floats
from dermlens.studies.paper.attention_mass import COLUMNS as ATTENTION_COLUMNS
from dermlens.studies.paper.attention_mass import summarise
from dermlens.studies.paper.contrasts import (
    COLUMNS,
    Contrast,
    correct,
    draw_differences,
    present,
    rows_of,
)
from dermlens.studies.paper.enough_draws import draw_enough
from dermlens.studies.paper.questions import Question, load_questions, read_arms
from dermlens.studies.paper.tables import read_published

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
