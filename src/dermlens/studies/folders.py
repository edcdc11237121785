"""Runs, cross-fits, or cross-fits by source, compared or published: whichever the folders hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from dermlens.errors import UserError
from dermlens.evaluation.comparison import compare_runs
from dermlens.evaluation.ledger import publish_run
from dermlens.evaluation.transfer import decide
from dermlens.report.figures import save_comparison
from dermlens.runs import Run
from dermlens.studies import by_source, crossfit
from dermlens.studies.ablation_page import render_decision


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison, ready to be shown.

    Attributes:
        numbers: as JSON.
        tables: for a terminal.
    """

    numbers: dict[str, Any]
    tables: list[RenderableType]


def compare(folders: Sequence[Path], figure: Path | None = None) -> Compared:
    """Compare folders with the first of them.

    Args:
        folders: runs, or cross-fits by source.
        figure: an SVG or PNG of recall and F1 per class to write; of runs only.

    Raises:
        UserError: a folder is neither, they share no images, or a figure of cross-fits is asked for.
    """
    if len(folders) > 1 and all((path / by_source.RECORD).is_file() for path in folders):
        if figure is not None:
            raise UserError("--figure draws runs; cross-fits by source are compared by their loss alone")
        return _by_source(folders)
    runs = [Run.open(path) for path in folders]
    compared = compare_runs(runs)
    if figure is not None:
        save_comparison(runs, figure, compared.roles)
    return Compared(compared.to_json(), [compared.render()])


def _by_source(folders: Sequence[Path]) -> Compared:
    baseline = by_source.left_out_predictions(folders[0])
    decisions = {path: decide(by_source.left_out_predictions(path), baseline) for path in folders[1:]}
    name = folders[0].resolve().name
    return Compared(
        {str(path): asdict(one) for path, one in decisions.items()},
        [render_decision((path.resolve().name, name), one) for path, one in decisions.items()],
    )


def publish(source: Path, folder: Path) -> str:
    """Write what may be published: no weights, no images, predictions compressed.

    Args:
        source: a run directory or the folder of a cross-fit.
        folder: to write to; files of the same names are replaced.

    Returns:
        The folder, and what can be done with it.

    Raises:
        UserError: it is neither, or what it holds is not complete.
    """
    if (source / by_source.RECORD).is_file():
        by_source.publish_by_source(source, folder)
        return str(folder)
    if (source / crossfit.PAIRS).is_file():
        crossfit.publish_pairs(source, folder)
        return str(folder)
    if (source / crossfit.RECORD).is_file():
        crossfit.publish_crossfit(source, folder)
        return str(folder)
    publish_run(Run.open(source), folder)
    return f"{folder}; `dermlens evaluate {folder}` computes its metrics anew"
