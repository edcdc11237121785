"""What may be published of whatever was trained: one run, a cross-fit, or a cross-fit by source."""

from __future__ import annotations

from pathlib import Path

from dermlens.evaluation.publish import publish_run
from dermlens.runs import Run
from dermlens.studies import by_source, crossfit


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
    if (source / crossfit.RECORD).is_file():
        crossfit.publish_crossfit(source, folder)
        return str(folder)
    publish_run(Run.open(source), folder)
    return f"{folder}; `dermlens evaluate {folder}` computes its metrics anew"
