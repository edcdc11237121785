"""The questions' answers: planned contrasts, and where attention goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermlens.studies.paper.attention_mass import summarise
from dermlens.studies.paper.contrasts import COLUMNS, correct, measure_contrasts
from dermlens.studies.paper.questions import Question, load_questions, read_arms

REPLICATES = 4000
"""The smallest p-value is 0.0005, which Holm's correction over forty contrasts leaves below 0.05."""
SEED = 0


@dataclass(frozen=True)
class Answer:
    """A question and what was found.

    Attributes:
        question: as planned.
        rows: its contrasts that were run, Holm's correction over all questions done.
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
    for question in questions:
        tables = read_arms(results, question)
        measured.append(measure_contrasts(tables, question.contrasts, replicates=REPLICATES, seed=SEED))
    known = [rows for rows in measured if len(rows)]
    corrected = correct(pd.concat(known, ignore_index=True)) if known else pd.DataFrame(columns=list(COLUMNS))
    return [_answer(question, corrected) for question in questions]


def read_attention(results: Path) -> dict[str, pd.DataFrame]:
    """Where attention goes, by arm, as `summarise` gives it; arms that were not read are left out."""
    found = {}
    for folder in sorted((results / "questions" / "readings").glob("attention_*")):
        found[folder.name.removeprefix("attention_")] = summarise(pd.read_csv(folder / "attention.csv.gz"))
    return found


def _answer(question: Question, corrected: pd.DataFrame) -> Answer:
    rows = corrected[corrected["question"] == question.name].reset_index(drop=True)
    run = set(zip(rows["arm"], rows["reference"], strict=True))
    missing = [(one.arm, one.reference) for one in question.contrasts if (one.arm, one.reference) not in run]
    return Answer(question, rows, missing)
