"""What of the study may be published, and runs made again next to it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table

from dermlens import metrics
from dermlens.data.predictions import arrays, classes_of, read_predictions, write_csv, write_predictions
from dermlens.data.table import read_configured
from dermlens.evaluation.intervals import Estimate, Place, estimate, resamples_of
from dermlens.evaluation.ledger import publish_recipe, without_paths
from dermlens.files import copy_file, read_json, write_json
from dermlens.metrics import Floats
from dermlens.recipe import load_recipe
from dermlens.records import estimate_text
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig
from dermlens.studies import ablation
from dermlens.studies.ablation import is_trained
from dermlens.studies.crossfit import PREDICTIONS
from dermlens.studies.folds import read_out_of_fold, read_tables
from paper.curves import publish_first_epochs
from paper.layers import LAYERS, measure_layers
from paper.plan import PROBES, READING, Planned, form_of, hours_left, reading_folder, say_hours
from paper.probe import measure_uncut, read_probes, write_probe
from paper.questions import read_images
from paper.siblings import SIBLINGS, count_siblings
from paper.study import Job, Study

# What of a study may be published: ids and numbers, no weights, no pictures of patients.


COUNTS, UNCUT, EXAMPLES = "counts.csv", "uncut.csv", "examples.csv"
SCORED = "selection"

OF_TIME = (
    "steps", "seconds_per_step", "hours", "latency_ms_p50", "latency_ms_p95", "threads", "device", "machine",
    "timed_batch",
)  # fmt: skip
"""Columns of a probe that stay behind: three steps on a machine that does other work time nothing."""


def publish(study: Study, data: Path, out: Path, results: Path) -> None:
    """Copy what is done in the working folder to where it is published, and score the experiments.

    Args:
        study: what is studied.
        data: the data folder, for the counts of Table 2.
        out: the working folder.
        results: to write to; what is there of other runs stays, so several machines may share the work.

    Raises:
        UserError: the data or a finished run cannot be read, or what is published is of other experiments.
    """
    for folder, matrix in study.matrices.items():
        if any(ablation.is_trained(out / folder / "arms" / name) for name in matrix.names):
            ablation.gather(matrix, ablation.begin(matrix, data, out / folder), out / folder)
            ablation.publish(out / folder, results / folder)
    for job in study.jobs:
        if job.kind == "reading" and (reading_folder(out, job) / READING).is_file():
            _publish_reading(reading_folder(out, job), reading_folder(results, job))
        elif job.kind == "system" and form_of(out / job.id) is not None:
            _publish_training(Run(out / job.id), results / job.id)
    publish_first_epochs(out / "systems", results)
    for row in read_probes(out / PROBES).values():
        write_probe(results / PROBES, {**row, **dict.fromkeys(OF_TIME)})
    _count(study, data, results)
    write_csv(results / UNCUT, measure_uncut(), digits=4)
    write_csv(results / LAYERS, measure_layers(), digits=9)


def _publish_reading(folder: Path, copy: Path) -> None:
    copy.mkdir(parents=True, exist_ok=True)
    for table in sorted(folder.glob("*.csv.gz")):
        copy_file(table, copy / table.name)
    facts = json.loads((folder / READING).read_text(encoding="utf-8"))
    write_json(copy / READING, without_paths(facts))


def _publish_training(run: Run, folder: Path) -> None:
    """A run without weights, and of its predictions those that are scored."""
    folder.mkdir(parents=True, exist_ok=True)
    publish_recipe(run, folder)
    copy_file(run.history_file, folder / "history.csv")
    predictions = run.predictions()
    scored = predictions[predictions["role"] == SCORED].reset_index(drop=True)
    write_predictions(folder / "predictions.csv.gz", scored)
    write_json(folder / "run.json", without_paths(read_json(run.record_file)))


def _count(study: Study, data: Path, results: Path) -> None:
    """The images of each class, and for Table 3 the first nevus and melanoma of the experiments."""
    first = next(iter(study.systems.values()))
    table = read_configured(data, load_recipe(first.recipe).data)
    if (images := read_images(results / "questions")) is not None:
        known = table[table["image_id"].isin(images["image_id"])].sort_values("image_id")
        shown = known[known["dx"].isin(("mel", "nv"))].drop_duplicates("dx")
        columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "site"]
        write_csv(results / EXAMPLES, shown[columns], digits=6)
    write_csv(results / SIBLINGS, count_siblings(table), digits=6)
    counts = table["dx"].value_counts().sort_index().rename_axis("dx").reset_index(name="images")
    write_csv(results / COUNTS, counts, digits=6)


# A run made again, next to what is published of it.


MEASURES = ("accuracy", "mean_recall")


@dataclass(frozen=True, slots=True)
class Rerun:
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


def reruns(job: Job, out: Path, results: Path) -> list[Rerun]:
    """What a run in the working folder says, next to the published one.

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
        Rerun(
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

    resamples = resamples_of(table, target_N, config)
    return estimate(statistic, resamples, level=config.level)


# The plan of the study, and runs made again, as text.


SCALE = (
    "The experiments train MobileNetV3-Small at 96 px for eight epochs, on three folds with one seed. They"
    " can show what a change does to that network, where it is four to six points of mean recall or more;"
    " they cannot show that it does the same to networks up to eighty times as large, at 224 to 331 px."
)

HOURS = (
    "Hours: what is left of a run, by itself, on the machine that measured: of an experiment's arm as long as"
    " its finished arms took, of a system by a few of its own steps on the processor, where it needs a GPU"
    " too. Unknown: nobody has measured it."
)


def render_plan(rows: Sequence[Planned]) -> RenderableType:
    """Every run with its state, what is left in hours, and what this scale can show."""
    table = Table(box=None, pad_edge=False)
    for column in ("run", "state", "hours left", "note"):
        table.add_column(
            column, justify="right" if column == "hours left" else "left", no_wrap=column == "run"
        )
    for row in rows:
        table.add_row(row.job.id, row.state, _hours(row), row.note)
    return Group(table, "", _sum(rows), HOURS, SCALE)


def render_again(jobs: Sequence[Job], out: Path, results: Path) -> RenderableType:
    """The scores of runs that were made again, next to those published."""
    found = [row for job in jobs for row in reruns(job, out, results)]
    if not found:
        return "nothing of this is published yet, to compare it with"
    table = Table(box=None, pad_edge=False)
    for column in ("run", "measure", "again", "published", "inside its interval"):
        table.add_column(column)
    for row in found:
        published = estimate_text({"value": row.published, "low": row.low, "high": row.high}, 3)
        table.add_row(row.job, row.measure, f"{row.value:.3f}", published, "yes" if row.is_inside else "no")
    return table


def _hours(row: Planned) -> str:
    if row.state == "done":
        return ""
    if row.hours is None:
        return "unknown"
    return "< 0.1" if row.hours < 0.05 else f"{row.hours:.1f}"  # 0.0 is of what is done


def _sum(rows: Sequence[Planned]) -> str:
    counts = Counter(row.state for row in rows)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    left = say_hours(*hours_left(rows))
    return f"{len(rows)} runs: {states}. Hours of what is to do, one run after the other: {left}."
