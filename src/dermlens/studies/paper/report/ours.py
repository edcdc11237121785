"""What was measured here, ready to stand beside what was printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from dermlens.evaluation.config import EvaluationConfig
from dermlens.evaluation.predictions import classes_of, read_predictions
from dermlens.evaluation.score import score
from dermlens.runs import Run
from dermlens.studies.paper.plan import FORM, PROBES
from dermlens.studies.paper.probe import read_probes
from dermlens.studies.paper.published import COUNTS, SCORED
from dermlens.studies.paper.published import UNCUT as UNCUT_FILE
from dermlens.studies.paper.systems import System, load_systems
from dermlens.studies.paper.tables import read_published

UNCUT = "uncut"
"""Before the name of an uncut network, in place of a system."""

OVERALL = ("accuracy", "balanced_accuracy_ovr")
AVERAGES = {
    "macro_precision": ("macro", "precision"),
    "macro_recall": ("macro", "recall"),
    "macro_f1": ("macro", "f1"),
    "specificity": ("macro", "specificity"),
    "auc_macro": ("macro", "auc"),
    "auc_weighted": ("weighted", "auc"),
    "auc_micro": ("micro", "auc"),
}
PROBED = {"trainable_parameters": "trainable_parameters"}
TIMED = ("seconds_per_epoch", "latency_ms")
"""Printed times, beside which nothing of ours stands: three steps beside other work were up to five times as
slow as the epochs were."""


@dataclass(frozen=True, slots=True)
class Ours:
    """A number that was measured here.

    Attributes:
        value: mean over seeds.
        sd: over seeds; none of a single one.
        low, high: 95 % interval over lesions, of a single seed; none of a mean over several.
        seeds: how many.
        short: `6 of 63 epochs`, where less was trained than the authors did; else empty.
    """

    value: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 1
    short: str = ""


@dataclass(frozen=True)
class Training:
    """A published training of a system.

    Attributes:
        seed: of it.
        scores: of its held-out images, as metrics.json has them.
        predictions: of the same.
        history: an epoch a row.
        form: `whole` or `short`.
        start: what the file of its first weights says of itself, or empty.
    """

    seed: int
    scores: Mapping[str, Any]
    predictions: pd.DataFrame
    history: pd.DataFrame
    form: str
    start: str = ""


@dataclass(frozen=True)
class Measured:
    """All that is published of the tables.

    Attributes:
        systems: by id.
        trainings: of each system, by seed; those that were trained.
        probes: of each system.
        counts: images by class.
        uncut: a row an uncut network.
    """

    systems: Mapping[str, System]
    trainings: Mapping[str, Sequence[Training]]
    probes: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, int]
    uncut: Mapping[str, Mapping[str, Any]]

    def of(self, system: str, metric: str, row: str) -> Ours | None:
        """A number of a table's cell; none where it was not measured.

        Args:
            system: an id, `uncut/<backbone>`, or empty.
            metric: its name.
            row: the row's heading, which names the class in Table 2.
        """
        if metric == "images":
            found = sum(self.counts.values()) if row == "total" else self.counts.get(row)
            return None if not found else Ours(found)
        if system.startswith(f"{UNCUT}/"):
            facts = self.uncut.get(system.removeprefix(f"{UNCUT}/"))
            return None if facts is None else Ours(float(facts[metric]))
        probe = self.probes.get(system)
        if metric in PROBED:
            return None if probe is None else Ours(float(probe[PROBED[metric]]))
        if metric in TIMED:
            return None
        return self._scored(system, metric)

    def needs(self, system: str) -> str:
        """What a system that was not trained lacks."""
        if system not in self.systems:
            return ""
        return "not run" if self.systems[system].without_gpu is not None else "not run: needs a GPU"

    def _scored(self, system: str, metric: str) -> Ours | None:
        found = [(one, _place(one.scores, metric)) for one in self.trainings.get(system, ())]
        known = [(one, place) for one, place in found if place.get("value") is not None]
        if not known:
            return None
        values = [float(place["value"]) for _, place in known]
        first, place = known[0]
        several = len(values) > 1
        return Ours(
            fmean(values),
            stdev(values) if several else None,
            None if several else place.get("low"),
            None if several else place.get("high"),
            len(values),
            self._short(system, first),
        )

    def _short(self, system: str, training: Training) -> str:
        if training.form != "short":
            return ""
        return f"{len(training.history)} of {self.systems[system].epochs} epochs"


def read_measured(results: Path) -> Measured:
    """Read and score what is published.

    Args:
        results: of the study; what is absent is left out.

    Raises:
        UserError: a table is damaged.
    """
    systems = load_systems()
    counts, uncut = results / COUNTS, results / UNCUT_FILE
    return Measured(
        systems=systems,
        trainings={name: _trainings(results / "systems" / name) for name in systems},
        probes=read_probes(results / PROBES),
        counts=_counts(counts) if counts.is_file() else {},
        uncut=_uncut(uncut) if uncut.is_file() else {},
    )


def _counts(path: Path) -> dict[str, int]:
    table = read_published(path, ["dx", "images"], ["images"], whole=True)
    return {str(dx): int(images) for dx, images in zip(table["dx"], table["images"], strict=True)}


def _uncut(path: Path) -> dict[str, dict[str, float]]:
    numbers = ["size_mb", "parameters_m", "depth"]
    rows = read_published(path, ["backbone", *numbers], numbers).to_dict("records")
    return {str(row["backbone"]): {name: float(row[name]) for name in numbers} for row in rows}


def _trainings(folder: Path) -> list[Training]:
    found = [_training(Run(path)) for path in folder.glob("seed-*") if (path / "run.json").is_file()]
    return sorted(found, key=lambda training: training.seed)


def _training(run: Run) -> Training:
    predictions = read_predictions(run.path / "predictions.csv.gz")
    scores = score(predictions, classes_of(predictions), EvaluationConfig())["roles"][SCORED]
    return Training(
        seed=run.recipe().seed,
        scores=scores,
        predictions=predictions,
        history=pd.read_csv(run.history_file),
        form=run.read_record()[FORM],
        start=run.read_record().get("start", ""),
    )


def _place(scores: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """A number of metrics.json by the name that the tables give it."""
    place: Mapping[str, Any]
    if metric in OVERALL:
        place = scores["overall"][metric]
    elif metric in AVERAGES:
        average, name = AVERAGES[metric]
        place = scores["averages"][average][name]
    else:
        name, _, code = metric.partition("_")
        place = scores["per_class"][code][name]
    return place
