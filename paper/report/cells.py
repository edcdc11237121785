"""The cells of the paper's tables: printed, in the notebook behind it, and ours."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import pandas as pd

from dermlens.data.predictions import classes_of, write_csv
from dermlens.evaluation.score import score
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig
from paper.latency import read_latency
from paper.plan import FORM, PROBES
from paper.probe import read_probes
from paper.publication import COUNTS, SCORED
from paper.publication import UNCUT as UNCUT_FILE
from paper.report.ours import RELATED, Ours, Related, of_related, read_related
from paper.study import MATRICES, System, load_systems, read_published

# What was measured here, to show next to what was printed.


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
"""Printed times, for which nothing of ours was timed: three steps during other work were up to five times as
slow as the epochs were."""


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
        related: numbers of the related systems.
        latency: of each network, as `read_latency` gives it.
    """

    systems: Mapping[str, System]
    trainings: Mapping[str, Sequence[Training]]
    probes: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, int]
    uncut: Mapping[str, Mapping[str, Any]]
    related: Related = field(default_factory=dict)
    latency: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, system: str, metric: str, row: str) -> Ours | None:
        """A number of a table's cell; none where it was not measured.

        Args:
            system: an id, `uncut/<backbone>`, `related/<system>`, or empty.
            metric: its name.
            row: the row's heading, which names the class in Table 2.
        """
        if metric == "images":
            found = sum(self.counts.values()) if row == "total" else self.counts.get(row)
            return None if not found else Ours(found)
        if system.startswith(f"{UNCUT}/"):
            facts = self.uncut.get(system.removeprefix(f"{UNCUT}/"))
            return None if facts is None else Ours(float(facts[metric]))
        if system.startswith(f"{RELATED}/"):
            return of_related(self.related, system, metric)
        probe = self.probes.get(system)
        if metric in PROBED:
            return None if probe is None else Ours(float(probe[PROBED[metric]]))
        if metric == "latency_ms" and system in self.latency:
            return Ours(float(self.latency[system]["ms"]))
        if metric in TIMED:
            return None
        return self._scored(system, metric)

    def needs(self, system: str, metric: str = "") -> str:
        """What a number that was not measured needs, in one line."""
        if system.startswith(f"{RELATED}/"):
            return "not run"
        if system not in self.systems:
            return ""
        if metric in TIMED:
            return "not measured: needs a quiet machine"
        found = self.systems[system]
        if found.without_gpu is None:
            return f"not run: needs a GPU for {found.epochs} epochs"
        trainings = found.without_gpu.seeds
        return f"not run: needs a CPU for {trainings} × {found.without_gpu.epochs or found.epochs} epochs"

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
            stdev(values) if len(values) >= FEWEST_SEEDS else None,
            None if several else place.get("low"),
            None if several else place.get("high"),
            len(values),
            self._short(system, first),
            tuple(values) if several else (),
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
        related=read_related(results),
        latency=read_latency(results),
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
    predictions, record = run.predictions(), run.read_record()
    scores = score(predictions, classes_of(predictions), EvaluationConfig())["roles"][SCORED]
    return Training(
        seed=run.recipe.seed,
        scores=scores,
        predictions=predictions,
        history=pd.read_csv(run.history_file),
        form=(record.model_extra or {})[FORM],
        start=record.start or "",
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


# The cells of the paper's tables: printed, in the notebook behind it, and ours.


Agreement = Literal["equal", "near", "other", "short", ""]

MARKS: dict[Agreement, str] = {"equal": "✓", "near": "≈", "other": "≠", "short": "…", "": ""}
EXACT = ("images", "trainable_parameters", "depth")
"""Counts, which are equal or not."""
TIMES = ("seconds_per_epoch", "latency_ms")
"""Of another machine each: there is nothing to agree."""
Z = 1.96


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        table, row, column: as the article has them; table such as `table_5`.
        printed: as printed, or empty.
        system: that ours is of: its id, `uncut/<backbone>`, `related/<system>`, or empty.
        notebook: the authors' notebook behind it, or empty.
        notebook_value: what it printed, or empty.
        notebook_agrees: with the printed value.
        ours: what was measured here, or none.
        ours_agrees: with the printed value, or where there is none with the notebook's.
        needs: what a cell that was not run would take.
        metric: of all three.
        note: what there is to say of it.
    """

    table: str
    row: str
    column: str
    printed: str
    system: str
    notebook: str
    notebook_value: str
    notebook_agrees: Agreement
    ours: Ours | None
    ours_agrees: Agreement
    needs: str
    metric: str
    note: str


def read_cells(measured: Measured, images: int) -> list[Cell]:
    """Every printed cell next to ours.

    Args:
        measured: here.
        images: of the authors' evaluation, for the noise of a printed share.
    """
    text = files("paper").joinpath("printed/tables.csv").read_text(encoding="utf-8")
    return [_cell(entry, measured, images) for entry in csv.DictReader(text.splitlines())]


def rounds_to(value: float, printed: str) -> bool:
    """Whether a value is what was printed, rounded to as many digits; a half goes either way."""
    digits = -int(Decimal(printed).as_tuple().exponent)
    return abs(value - float(printed)) <= 0.5 * 10.0**-digits + 1e-9


def agreement(ours: Ours, printed: str, metric: str, images: int) -> Agreement:
    """How a number of ours stands to a printed one.

    Args:
        ours: the number.
        printed: as printed.
        metric: of both.
        images: of the authors' evaluation.

    Returns:
        `equal` once rounded; `near` where the printed one lies in our interval, or ours within the sampling
        error of a share of so many images (1.96 standard errors); else `other`. `short` where less was
        trained.
    """
    if metric in TIMES:
        return ""
    if ours.short:
        return "short"
    if rounds_to(ours.value, printed):
        return "equal"
    if metric in EXACT:
        return "other"
    value = float(printed)
    if ours.low is not None and ours.high is not None and ours.low <= value <= ours.high:
        return "near"
    if 0 < value < 1:
        error = Z * math.sqrt(value * (1 - value) / images)
        return "near" if abs(ours.value - value) <= error else "other"
    return "other"


def columns_of(cells: Sequence[Cell]) -> list[str]:
    """The columns of a table, in the order of the article."""
    return list(dict.fromkeys(cell.column for cell in cells))


def _cell(entry: dict[str, str], measured: Measured, images: int) -> Cell:
    printed, other = entry["printed"], entry["notebook_value"]
    ours = measured.of(entry["system"], entry["metric"], entry["row"])
    against = "" if entry["system"].startswith(f"{RELATED}/") else printed or other  # of other images
    return Cell(
        table=entry["table"],
        row=entry["row"],
        column=entry["column"],
        printed=printed,
        system=entry["system"],
        notebook=entry["notebook"],
        notebook_value=other,
        notebook_agrees=_of_notebook(printed, other, entry["metric"]),
        ours=ours,
        ours_agrees="" if ours is None or not against else agreement(ours, against, entry["metric"], images),
        needs="" if ours is not None else measured.needs(entry["system"], entry["metric"]),
        metric=entry["metric"],
        note=entry["note"],
    )


def _of_notebook(printed: str, value: str, metric: str) -> Agreement:
    if not printed or not value or metric in TIMES:
        return ""
    return "equal" if rounds_to(float(value), printed) else "other"


# The cells of a table as CSV: printed, notebook and ours, with what there is to say of each.


FEWEST_SEEDS = 5
"""Of fewer trainings each value is shown, and no standard deviation."""
COLUMNS = (
    "row", "column", "metric", "system", "printed", "notebook", "notebook_value", "notebook_agrees", "ours",
    "ours_sd", "ours_each", "ours_low", "ours_high", "seeds", "ours_agrees", "trained", "needs", "note",
)  # fmt: skip


def write_cells(path: Path, cells: Sequence[Cell]) -> None:
    """Write a table, one row a cell.

    Args:
        path: of the file.
        cells: of the table; `system` is the id of what ours is a number of, whose recipe the page names.
    """
    rows = [
        (
            cell.row, cell.column, cell.metric, cell.system, cell.printed, cell.notebook, cell.notebook_value,
            cell.notebook_agrees, *_numbers(cell), cell.ours_agrees,
            cell.ours.short if cell.ours is not None else "", cell.needs, cell.note,
        )
        for cell in cells
    ]  # fmt: skip
    write_csv(path, pd.DataFrame(rows, columns=list(COLUMNS)), digits=5)


def _numbers(
    cell: Cell,
) -> tuple[float | str | None, float | None, str | None, float | None, float | None, int | None]:
    ours = cell.ours
    if ours is None:
        return None, None, None, None, None, None
    if cell.metric in EXACT:
        return f"{ours.value:.0f}", None, None, None, None, ours.seeds
    each = "; ".join(f"{value:.5g}" for value in ours.each) or None
    return ours.value, ours.sd, each, ours.low, ours.high, ours.seeds


# Which recipe stands behind a column: systems by id, their files, and the cells that are theirs.


RECIPES = "src/dermlens/recipes"
EXPERIMENTS = "src/dermlens/studies/matrices"
"""Folders of the repository."""


def list_recipes(systems: Mapping[str, System], tables: Mapping[str, Sequence[Cell]]) -> list[dict[str, Any]]:
    """The systems, in the order in which they are worth running.

    Args:
        systems: by id.
        tables: title, such as `Table 5`, → its cells.

    Returns:
        A row each: `id`, `about`, `path` in the repository, the authors' `notebook` or none, and `places`, a
        sentence a table in which ours is of this system.
    """
    return [
        {
            "id": name,
            "about": system.about,
            "path": f"{RECIPES}/{system.recipe}.yaml",
            "notebook": system.notebook,
            "places": [
                f"{title}: {found}" for title, cells in tables.items() if (found := _places(name, cells))
            ],
        }
        for name, system in systems.items()
    ]


def list_experiments() -> list[str]:
    """The files of the experiments, whose arms change one thing each of a recipe that they name."""
    return [f"{EXPERIMENTS}/{name}.yaml" for name in MATRICES.values()]


def _places(system: str, cells: Sequence[Cell]) -> str:
    """The rows of a table that are all of a system, and else its cells."""
    found: list[str] = []
    for row in dict.fromkeys(cell.row for cell in cells if cell.system == system):
        own = [cell for cell in cells if cell.row == row and not cell.system.startswith(f"{UNCUT}/")]
        if all(cell.system == system for cell in own):
            found.append(row)
        else:
            found += [f"{row}, {cell.column}" for cell in own if cell.system == system]
    return "; ".join(found)
