"""Numbers that no plan named: looked at once the arms were there, with intervals and without p-values.

They stand in tables/afterwards.csv, so that what docs/paper.md says of them can be followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dermlens.studies.paper.contrasts import Contrast, measure_contrasts
from dermlens.studies.paper.questions import Question, load_questions, read_arms, read_images

COLUMNS = (
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
TOLD_NOTHING = Contrast("told", "told_nothing", "no_metadata", "mean_recall", 0.0)


def look_afterwards(results: Path, *, replicates: int, seed: int) -> pd.DataFrame:
    """Accuracy beside every contrast of mean recall, the leak where images have siblings, and one more pair.

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
    rows.append(_measured(None, together, [*compared, TOLD_NOTHING], replicates, seed))
    known = [row for row in rows if len(row)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=list(COLUMNS))


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
    return rows.assign(what=what or rows["question"])[list(COLUMNS)]
