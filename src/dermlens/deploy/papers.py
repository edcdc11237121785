"""What stands beside an exported model for people: its card and its licence."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dermlens.atomic import atomic_path, write_text
from dermlens.data.split import load_manifest
from dermlens.evaluation.predictions import read_predictions
from dermlens.evaluation.report.card import write_card
from dermlens.evaluation.report.exported import Exported
from dermlens.evaluation.report.licence import licence_text
from dermlens.evaluation.report.words import provenance
from dermlens.runs import Run

CARD, LICENCE = "MODEL_CARD.md", "LICENSE"
HAM10000 = "ham10000"


def write_papers(source: Path, folder: Path) -> list[Path]:
    """Write MODEL_CARD.md of an evaluated run, and LICENSE of a run that was trained on HAM10000.

    A run that has no scores has no card; then an older card is taken away, which was another model's. So is
    an older licence where HAM10000 has no part in the run; one that lies in the source goes along instead.

    Args:
        source: the run that was exported, or any folder with a saved model.
        folder: what the export wrote.

    Returns:
        What was written.

    Raises:
        UserError: as `write_card` raises it, or a file of the run cannot be read.
    """
    run = Run(source)
    record = run.read_record() if run.record_file.is_file() else {}
    written = []
    if run.metrics_file.is_file():
        written.append(write_card(run, exported=Exported.read(folder)))
    else:
        (folder / CARD).unlink(missing_ok=True)
    if _is_of_ham10000(run, record):
        write_text(folder / LICENCE, licence_text(run.recipe().model, record))
        written.append(folder / LICENCE)
    elif not (source / LICENCE).is_file():
        (folder / LICENCE).unlink(missing_ok=True)
    elif source.resolve() != folder.resolve():
        with atomic_path(folder / LICENCE) as part:
            shutil.copyfile(source / LICENCE, part)
        written.append(folder / LICENCE)
    return written


def _is_of_ham10000(run: Run, record: Mapping[str, Any]) -> bool:
    """Whether HAM10000 had a part in a run, as its lesion ids and the names of `data.also_train` tell."""
    further = [*(record.get("also_train") or {}).get("folders", ())]
    further += [folder for recipe in run.recipes() for folder in recipe.data.also_train]
    if any(HAM10000 in Path(folder).name.lower() for folder in further):
        return True
    if run.split_file.is_file():
        return provenance(load_manifest(str(run.split_file)).roles) == HAM10000
    return run.predictions_file.is_file() and provenance(read_predictions(run.predictions_file)) == HAM10000
