"""The questions' answers: planned contrasts, where attention goes, and what was looked at afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.metrics import Floats
from paper.attention_mass import COLUMNS as ATTENTION_COLUMNS
from paper.attention_mass import summarise
from paper.contrasts import (
    ALPHA,
    COLUMNS,
    Contrast,
    Draws,
    correct,
    draw_arms,
    draw_enough,
    draw_right,
    measure_contrasts,
    named_right,
    present,
    rows_of,
)
from paper.questions import Question, load_questions, read_arms, read_images
from paper.siblings import SIBLINGS as COUNTED
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


@dataclass(frozen=True)
class Experiment:
    """The arms of a folder, and what they name right in the first draws.

    Attributes:
        questions: that it answers.
        tables: predictions by arm; none where nothing was run.
        draws: of all of its arms.
    """

    questions: list[Question]
    tables: dict[str, pd.DataFrame]
    draws: Draws | None


def read_experiments(results: Path) -> dict[str, Experiment]:
    """The experiments by folder, read and drawn once.

    Raises:
        UserError: a table is damaged.
    """
    found = {}
    for folder in dict.fromkeys(question.folder for question in load_questions()):
        own = [question for question in load_questions() if question.folder == folder]
        tables: dict[str, pd.DataFrame] = {}
        for question in own:
            tables |= read_arms(results, question)
        draws = draw_arms(tables, replicates=REPLICATES, seed=SEED) if tables else None
        found[folder] = Experiment(own, tables, draws)
    return found


def answer_all(experiments: Mapping[str, Experiment]) -> list[Answer]:
    """Every question, its contrasts drawn on until no verdict depends on the draws."""
    questions = load_questions()
    family = sum(len(question.contrasts) for question in questions)
    places = [
        (one, contrast)
        for one in experiments.values()
        for contrast in present(one.tables, [each for own in one.questions for each in own.contrasts])
    ]

    def draw(which: Sequence[int], batch: int) -> list[Floats]:
        """A batch of differences; the first is of the draws that all arms of an experiment share."""
        found = []
        for experiment, contrast in (places[index] for index in which):
            draws = experiment.draws
            if batch:
                pair = {arm: experiment.tables[arm] for arm in (contrast.arm, contrast.reference)}
                draws = draw_arms(pair, replicates=REPLICATES, seed=SEED + batch)
            assert draws is not None  # its arms are there
            found.append(draws.difference(contrast))
        return found

    drawn = draw_enough(draw, len(places), family, batch=REPLICATES)
    rows = [
        rows_of(one.tables, [contrast], [own]) for (one, contrast), own in zip(places, drawn, strict=True)
    ]
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
WEIGHED = "weighed as the paper's split has classes and siblings"
GIVEN_NOTHING = Contrast("given", "given_nothing", "no_metadata", "mean_recall", 0.0)


def look_afterwards(results: Path, experiments: Mapping[str, Experiment]) -> pd.DataFrame:
    """Accuracy of every contrast of mean recall, the leak where images have siblings, and one more pair.

    Args:
        results: of the study.
        experiments: what was read and drawn of them.

    Returns:
        A row each, with `AFTERWARDS_COLUMNS`.
    """
    leak = experiments["leak"].tables
    rows = [_of_siblings(results, leak), post_stratified(results, leak)]
    for experiment in experiments.values():
        planned = [one for question in experiment.questions for one in question.contrasts]
        compared = [replace(one, measure="accuracy") for one in planned if one.measure == "mean_recall"]
        compared = present(experiment.tables, [*compared, GIVEN_NOTHING])
        if experiment.draws is not None and compared:
            drawn = [experiment.draws.difference(one) for one in compared]
            found = rows_of(experiment.tables, compared, drawn)
            rows.append(found.assign(what=found["question"]))
    known = [row[list(AFTERWARDS_COLUMNS)] for row in rows if len(row)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=list(AFTERWARDS_COLUMNS))


def _of_siblings(results: Path, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The leak where there is one: on lesions with several images."""
    images = read_images(results / "questions")
    if images is None or not tables:
        return pd.DataFrame()
    several = images.groupby("lesion_id")["image_id"].size()
    lesions = set(several[several > 1].index)
    found = []
    for what, kept in ((SIBLINGS, None), (MELANOMAS, "mel")):
        parts = {}
        for arm, table in tables.items():
            rows = table["lesion_id"].isin(lesions) & ((table["target"] == kept) if kept else True)
            parts[arm] = table[rows].reset_index(drop=True)
        contrasts = [Contrast("leak", "leaky", "clean", "accuracy", 0.0)]
        measured = measure_contrasts(parts, contrasts, replicates=REPLICATES, seed=SEED)
        found.append(measured.assign(what=what))
    return pd.concat(found, ignore_index=True)


def post_stratified(results: Path, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The leak where, of each class, as many images have siblings as in the paper's split.

    Args:
        results: of the study, with the counts of that split.
        tables: predictions of the experiment `leak`.

    Returns:
        A row, or none where something is missing.
    """
    images = read_images(results / "questions")
    if images is None or not {"leaky", "clean"} <= set(tables) or not (results / COUNTED).is_file():
        return pd.DataFrame()
    counts = read_published(results / COUNTED, ("dx", "sibling", "images"), ("images",), whole=True)
    size = images.groupby("lesion_id")["image_id"].size()
    clean = tables["clean"]
    kind_N = clean["target"] + "/" + clean["lesion_id"].map(size > 1).astype(str)
    weight = counts.set_index(counts["dx"] + "/" + counts["sibling"].astype(str))["images"]
    kinds = [kind for kind in weight.index if (kind_N == kind).any()]
    own = kind_N.isin(kinds).to_numpy()
    stratum_N = kind_N[own].map(kinds.index).to_numpy(dtype=np.int64)
    w_K = weight[kinds].to_numpy(dtype=np.float64) / weight[kinds].sum()
    right_NA = np.stack([named_right(tables[arm])[own] for arm in ("leaky", "clean")], axis=1)

    def shares(found_RAK: Floats) -> Floats:
        """(R, 2): accuracy of both, were the strata as large as in the paper's split."""
        return np.asarray((found_RAK[:, 1:] / np.maximum(found_RAK[:, :1], 1)) @ w_K)

    value_2 = [sum(w * right_NA[stratum_N == k, arm].mean() for k, w in enumerate(w_K)) for arm in (0, 1)]
    rows = clean[own].reset_index(drop=True)
    drawn_R2 = shares(draw_right(rows, stratum_N, right_NA, len(kinds), replicates=REPLICATES, seed=SEED))
    low, high = np.quantile(drawn_R2[:, 0] - drawn_R2[:, 1], [ALPHA / 2, 1 - ALPHA / 2])
    found = (WEIGHED, "leaky", "clean", "accuracy", len(rows), *value_2, value_2[0] - value_2[1], low, high)
    return pd.DataFrame([found], columns=list(AFTERWARDS_COLUMNS))
