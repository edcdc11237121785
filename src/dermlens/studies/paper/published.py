"""What of a study may be published: ids and numbers, no weights, no pictures of patients."""

from __future__ import annotations

import json
from pathlib import Path

from dermlens.atomic import copy_file, write_json
from dermlens.data.table import read_configured
from dermlens.evaluation.predictions import read_predictions, write_csv, write_predictions
from dermlens.evaluation.publish import publish_recipe, without_paths
from dermlens.recipe import load_recipe
from dermlens.runs import Run
from dermlens.studies import ablation
from dermlens.studies.paper.curves import publish_first_epochs
from dermlens.studies.paper.plan import PROBES, READING, form_of, reading_folder
from dermlens.studies.paper.probe import measure_uncut, read_probes, write_probe
from dermlens.studies.paper.study import Study

COUNTS, UNCUT = "counts.csv", "uncut.csv"
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
    predictions = read_predictions(run.predictions_file)
    scored = predictions[predictions["role"] == SCORED].reset_index(drop=True)
    write_predictions(folder / "predictions.csv.gz", scored)
    write_json(folder / "run.json", without_paths(run.read_record()))


def _count(study: Study, data: Path, results: Path) -> None:
    """The images of each class, all of them."""
    first = next(iter(study.systems.values()))
    table = read_configured(data, load_recipe(first.recipe).data)
    counts = table["dx"].value_counts().sort_index().rename_axis("dx").reset_index(name="images")
    write_csv(results / COUNTS, counts, digits=6)
