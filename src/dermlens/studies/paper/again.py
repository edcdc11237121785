"""A run made again, beside what is published of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from dermlens import metrics
from dermlens.evaluation.config import EvaluationConfig
from dermlens.evaluation.intervals import Estimate, Place, draw_lesions, estimate
from dermlens.evaluation.predictions import arrays, classes_of, read_predictions
from dermlens.metrics import Floats
from dermlens.studies.ablation import is_trained
from dermlens.studies.arm_files import read_tables
from dermlens.studies.crossfit import PREDICTIONS
from dermlens.studies.out_of_fold import read_out_of_fold
from dermlens.studies.paper.plan import form_of
from dermlens.studies.paper.published import SCORED
from dermlens.studies.paper.study import Job

MEASURES = ("accuracy", "mean_recall")


@dataclass(frozen=True, slots=True)
class Beside:
    """A number of a run made again.

    Attributes:
        job: which.
        measure: accuracy, or mean recall, of the highest probability.
        value: of the new run.
        published, low, high: of the published one, with its 95 % interval.
    """

    job: str
    measure: str
    value: float
    published: float
    low: float
    high: float

    @property
    def is_inside(self) -> bool:
        """Whether the new number lies in the interval of the published one."""
        return self.low <= self.value <= self.high


def beside(job: Job, out: Path, results: Path) -> list[Beside]:
    """What a run in the working folder says, beside the published one.

    Args:
        job: an arm or a system's training; others have no scores.
        out: the working folder.
        results: what is published.

    Returns:
        A row a measure; none unless both are there and in the same form.
    """
    found = _arms(job, out, results) if job.kind == "arm" else _trainings(job, out, results)
    if found is None:
        return []
    own, published = (_estimated(table) for table in found)

    def number(
        estimates: dict[Place, Estimate], measure: str, place: Literal["value", "low", "high"]
    ) -> float:
        known = estimates[measure,][place]
        return math.nan if known is None else known

    return [
        Beside(
            job.id,
            measure,
            number(own, measure, "value"),
            number(published, measure, "value"),
            number(published, measure, "low"),
            number(published, measure, "high"),
        )
        for measure in MEASURES
    ]


def _arms(job: Job, out: Path, results: Path) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    arm, folder = out / job.folder / "arms" / job.name, results / job.folder
    if not is_trained(arm) or not (folder / "predictions" / f"{job.name}.csv.gz").is_file():
        return None
    return read_out_of_fold(arm / PREDICTIONS), read_tables(folder, [job.name])[job.name]


def _trainings(job: Job, out: Path, results: Path) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    if (
        job.kind != "system"
        or form_of(out / job.id) is None
        or form_of(out / job.id) != form_of(results / job.id)
    ):
        return None
    own = read_predictions(out / job.id / "predictions.csv")
    return own[own["role"] == SCORED], read_predictions(results / job.id / "predictions.csv.gz")


def _estimated(table: pd.DataFrame) -> dict[Place, Estimate]:
    classes, config = classes_of(table), EvaluationConfig()
    target_N, p_NC = arrays(table, classes)
    named_N = metrics.predicted_classes(p_NC)

    def statistic(weights: Floats | None) -> dict[Place, Floats]:
        counts = metrics.one_vs_rest(target_N, named_N, len(classes), weights)
        right = metrics.weighted_mean(named_N == target_N, weights)
        return {("accuracy",): right, ("mean_recall",): metrics.macro(counts.recall, counts.support)}

    lesion_N = table["lesion_id"].to_numpy(dtype=str)
    resamples = draw_lesions(lesion_N, target_N, replicates=config.bootstrap, seed=config.seed)
    return estimate(statistic, resamples, level=config.level)
