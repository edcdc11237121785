"""What stands beside an exported model for people: its card and its licence."""

from __future__ import annotations

from pathlib import Path

from dermlens.atomic import write_text
from dermlens.evaluation.predictions import read_predictions
from dermlens.evaluation.report.card import write_card
from dermlens.evaluation.report.exported import Exported
from dermlens.evaluation.report.licence import licence_text
from dermlens.evaluation.report.words import provenance
from dermlens.runs import Run

CARD, LICENCE = "MODEL_CARD.md", "LICENSE"


def write_papers(source: Path, folder: Path) -> list[Path]:
    """Write MODEL_CARD.md of an evaluated run, and LICENSE where it was trained on HAM10000.

    A run that has no scores has no card; then an older card is taken away, which was another model's.

    Args:
        source: the run that was exported, or any folder with a saved model.
        folder: what the export wrote.

    Returns:
        What was written.

    Raises:
        UserError: as `write_card` raises it.
    """
    run = Run(source)
    if not run.metrics_file.is_file():
        (folder / CARD).unlink(missing_ok=True)
        return []
    written = [write_card(run, exported=Exported.read(folder))]
    if provenance(read_predictions(run.predictions_file)) == "ham10000":
        write_text(folder / LICENCE, licence_text(run.recipe().model, run.read_record()))
        written.append(folder / LICENCE)
    return written
