"""Runs side by side on the images they share, with paired intervals, and scores on a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dermlens.data.predictions import arrays, classes_of, diagnoses
from dermlens.errors import UserError
from dermlens.evaluation.intervals import Estimate, Place, estimate, resamples_of, with_differences
from dermlens.evaluation.ledger import Openings, run_openings, seals_test
from dermlens.evaluation.score import ROLE_ORDER, core_numbers, recall_estimates
from dermlens.labels import Vocabulary
from dermlens.metrics import Floats
from dermlens.records import Metrics, estimate_text
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig

# A difference is taken resample by resample on the same draw of lesions: what is hard for both runs cancels,
# and the interval is narrower than two intervals laid side by side suggest. It says how far the difference of
# these two trained models may be due to the images drawn, not what another seed of the training would change.


SHOWN: dict[Place, str] = {
    ("overall", "balanced_accuracy_isic"): "mean recall (ISIC)",
    ("overall", "balanced_accuracy_ovr"): "(sens. + spec.)/2 (paper)",
    ("overall", "accuracy"): "accuracy",
    ("averages", "macro", "precision"): "precision, macro",
    ("averages", "macro", "f1"): "F1, macro",
    ("averages", "macro", "auc"): "AUC, macro",
    ("overall", "ece"): "ECE",
    ("overall", "brier"): "Brier",
    ("overall", "log_loss"): "log loss",
}


@dataclass(frozen=True, slots=True)
class RoleComparison:
    """The runs on one role.

    Attributes:
        images, lesions: how many all runs have in common.
        values: for each run, every metric on those images.
        differences: for each run, every metric less that of the first run; nothing for the first.
    """

    images: int
    lesions: int
    values: dict[str, dict[Place, Estimate]]
    differences: dict[str, dict[Place, Estimate]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        names: of the runs; the first is what the others are compared with.
        classes: of all of them.
        config: of the bootstrap.
        roles: the comparison on each role in which the runs share images.
        openings: of each run, the looks at its test role.
        warnings: what was left out.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    config: EvaluationConfig
    roles: dict[str, RoleComparison]
    openings: dict[str, Openings]
    warnings: tuple[str, ...] = ()

    def render(self) -> Group:
        """One table a role, recall of each class first; then the warnings."""
        tables: list[Table | str] = []
        for role, compared in self.roles.items():
            table = Table(
                title=f"{role}: {compared.images} images of {compared.lesions} lesions, in every run"
            )
            table.add_column("metric")
            for name in self.names:
                table.add_column(name, justify="right")
                if name in compared.differences:
                    table.add_column("difference", justify="right")
            recalls: dict[Place, str] = {
                ("per_class", code, "recall"): f"recall {code}" for code in self.classes
            }
            for place, words in (recalls | SHOWN).items():
                cells = []
                for name in self.names:
                    cells.append(_cell(compared.values[name][place]))
                    if name in compared.differences:
                        cells.append(_cell(compared.differences[name][place], signed=True))
                table.add_row(words, *cells)
            tables.append(table)
        looks = (f"{name}: {found.sentence()}" for name, found in self.openings.items() if found.opened)
        return Group(*tables, *looks, *(f"warning: {note}" for note in self.warnings))

    def to_json(self) -> dict[str, Any]:
        """Every metric by its dotted place in metrics.json, with plain numbers and null."""
        return {
            "schema": 1,
            "runs": list(self.names),
            "reference": self.names[0],
            "classes": list(self.classes),
            "bootstrap": {
                "replicates": self.config.bootstrap,
                "level": self.config.level,
                "seed": self.config.seed,
                "unit": "lesion",
                "paired": True,
            },
            "roles": {
                role: {
                    "images": compared.images,
                    "lesions": compared.lesions,
                    "values": {name: _dotted(found) for name, found in compared.values.items()},
                    "differences": {name: _dotted(found) for name, found in compared.differences.items()},
                }
                for role, compared in self.roles.items()
            },
            "openings": {name: found.to_json() for name, found in self.openings.items()},
            "warnings": list(self.warnings),
        }


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Compare runs on the images that all of them predicted in the same role.

    A sealed test role takes no part, even where it was opened in every run: a look at it is a line in the
    ledger, and a comparison writes none.

    Args:
        runs: two or more; the others are compared with the first, whose recipe sets the bootstrap.

    Raises:
        UserError: fewer than two runs, other classes, no image in common, or an image with two diagnoses.
    """
    if len(runs) < 2:
        raise UserError("compare needs two runs or more: dermlens compare RUN RUN…")
    names = _names(runs)
    tables = {name: run.predictions() for name, run in zip(names, runs, strict=True)}
    classes = classes_of(tables[names[0]])
    for name, table in tables.items():
        if set(classes_of(table)) != set(classes):
            raise UserError(
                f"run {name} has the classes {', '.join(classes_of(table))}, run {names[0]} has "
                f"{', '.join(classes)}: only runs of the same classes can be compared"
            )
    shared = set.intersection(*({*zip(t["image_id"], t["role"], strict=True)} for t in tables.values()))
    if not shared:
        raise UserError(
            f"runs {', '.join(names)} predicted no image in the same role: they need a split in common"
        )
    shared, warnings = _without_sealed(runs, shared)
    by_image = {name: table.set_index("image_id") for name, table in tables.items()}
    config = runs[0].recipe.evaluation
    roles = {}
    for role in (role for role in ROLE_ORDER if any(of_image == role for _, of_image in shared)):
        ids = sorted(image_id for image_id, of_image in shared if of_image == role)
        aligned = {name: table.loc[ids] for name, table in by_image.items()}
        for name, table in aligned.items():
            differs = table["target"] != aligned[names[0]]["target"]
            if differs.any():
                one = differs.index[differs.to_numpy()][0]
                raise UserError(f"image {one} has another diagnosis in run {name} than in run {names[0]}")
        roles[role] = _compare_role(aligned, classes, config)
    looks = {name: run_openings(run) for name, run in zip(names, runs, strict=True)}
    return Comparison(names, classes, config, roles, looks, warnings)


def _without_sealed(
    runs: Sequence[Run], shared: set[tuple[str, str]]
) -> tuple[set[tuple[str, str]], tuple[str, ...]]:
    """The shared images, less a sealed test role's; what to say of that. No split.csv counts as sealed."""
    sealed = any(not run.split_file.is_file() or seals_test(run.split()) for run in runs)
    kept = {(image_id, role) for image_id, role in shared if role != "test" or not sealed}
    if not kept:
        raise UserError(
            "the runs share their test role alone, which is sealed: compare their lines in the ledger instead"
        )
    note = "the sealed test role was left out: opened tests are compared by their lines in the ledger"
    return kept, (note,) if kept != shared else ()


def _compare_role(
    tables: dict[str, pd.DataFrame], classes: tuple[str, ...], config: EvaluationConfig
) -> RoleComparison:
    names = list(tables)
    scored = {name: arrays(table, classes) for name, table in tables.items()}
    named = {name: diagnoses(table, classes) for name, table in tables.items()}
    reference = tables[names[0]]

    def numbers(weights: Floats | None) -> dict[Place, Floats]:
        return with_differences(
            {name: core_numbers(*scored[name], classes, weights, named[name]) for name in names}
        )

    resamples = resamples_of(reference, scored[names[0]][0], config)
    estimates = estimate(numbers, resamples, level=config.level)
    for name in names:  # the values as `evaluate` gives them; differences keep their percentiles
        own = recall_estimates(*scored[name], classes, resamples, named[name], level=config.level)
        estimates |= {(name, "values", *place): found for place, found in own.items()}

    def part(name: str, kind: str) -> dict[Place, Estimate]:
        return {place[2:]: found for place, found in estimates.items() if place[:2] == (name, kind)}

    return RoleComparison(
        images=len(reference),
        lesions=int(reference["lesion_id"].nunique()),
        values={name: part(name, "values") for name in names},
        differences={name: part(name, "differences") for name in names[1:]},
    )


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    """Folder names where they differ, else paths."""
    short = [run.path.resolve().name for run in runs]
    long = [str(run.path) for run in runs]
    names = short if len(set(short)) == len(short) else long
    twice = next((name for name, group in itertools.groupby(sorted(names)) if len(list(group)) > 1), None)
    if twice is not None:
        raise UserError(f"run {twice} is named twice: compare needs different runs")
    return tuple(names)


def _dotted(found: dict[Place, Estimate]) -> dict[str, Estimate]:
    return {".".join(place): entry for place, entry in found.items()}


def _cell(entry: Estimate, *, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    if entry["value"] is None:
        return "–"
    if entry["low"] is None or entry["high"] is None:
        return format(entry["value"], form)
    return f"{entry['value']:{form}} [{entry['low']:{form}}, {entry['high']:{form}}]"


# The scores as a person reads them on a terminal: recall per class first.


OVERALL = {
    "balanced_accuracy_isic": "mean recall of the diagnosis (ISIC: a tie counts as wrong)",
    "balanced_accuracy_ovr": "mean of (sensitivity + specificity) / 2 of the diagnosis (the paper's)",
    "accuracy": "accuracy of the diagnosis",
    "ece": "expected calibration error of the probabilities",
    "brier": "Brier score of the probabilities",
    "log_loss": "log loss of the probabilities",
}


def render_metrics(metrics: Metrics) -> RenderableType:
    """Every scored role: per-class table, then the overall figures."""
    parts: list[RenderableType] = []
    vocabulary = Vocabulary(metrics.classes, metrics.described)
    for role, scores in metrics.roles.items():
        classes = Table(title=f"{role}: {scores['images']} images of {scores['lesions']} lesions")
        for column in ("diagnosis", "n", "recall", "precision", "specificity", "AUC"):
            classes.add_column(column, justify="left" if column == "diagnosis" else "right")
        for code, row in scores["per_class"].items():
            cells = [estimate_text(row[name], 3) for name in ("recall", "precision", "specificity", "auc")]
            classes.add_row(f"{code}  {vocabulary.name(code)}", str(row["support"]), *cells)
        overall = Table(box=None, show_header=False)
        for name, words in OVERALL.items():
            overall.add_row(words, estimate_text(scores["overall"].get(name), 3))
        overall.add_row(
            "AUC of the probabilities, mean over classes",
            estimate_text(scores["averages"]["macro"]["auc"], 3),
        )
        for name, found in scores.get("plugins", {}).items():
            overall.add_row(name, estimate_text(found, 3))
        for mark in (scores.get("suspicion") or {}).get("marks", ())[-1:]:
            overall.add_row(
                f"malignant images flagged, at the mark for {100 * mark['catches']:.0f} of 100",
                estimate_text(mark["sensitivity"], 3),
            )
            overall.add_row("benign images flagged there", estimate_text(mark["benign_flagged"], 3))
        parts += [classes, overall]
    if (prior := metrics.prior) is not None:
        parts.append(Text(f"Case mix: {prior['name']}, {prior['words']}."))
    parts += [Text(warning, style="yellow") for warning in metrics.warnings]
    return Group(*parts)
