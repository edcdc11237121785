"""The questions' answers: planned contrasts, and where attention goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermlens.studies.paper.attention_mass import COLUMNS as ATTENTION_COLUMNS
from dermlens.studies.paper.attention_mass import summarise
from dermlens.studies.paper.contrasts import COLUMNS, correct, measure_contrasts
from dermlens.studies.paper.questions import Question, load_questions, read_arms
from dermlens.studies.paper.tables import read_published

REPLICATES = 10_000
"""A p-value near 0.001, where forty corrected contrasts are decided, rests on five draws or more."""
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
    measured = []
    for folder in dict.fromkeys(question.folder for question in questions):  # one draw for all of its arms
        own = [question for question in questions if question.folder == folder]
        tables: dict[str, pd.DataFrame] = {}
        for question in own:
            tables |= read_arms(results, question)
        planned = [one for question in own for one in question.contrasts]
        measured.append(measure_contrasts(tables, planned, replicates=REPLICATES, seed=SEED))
    known = [rows for rows in measured if len(rows)]
    family = sum(len(question.contrasts) for question in questions)
    corrected = (
        correct(pd.concat(known, ignore_index=True), family) if known else pd.DataFrame(columns=list(COLUMNS))
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
