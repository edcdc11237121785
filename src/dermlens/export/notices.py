"""What accompanies an exported model: for people its card and its licence, for pages what was measured."""

from __future__ import annotations

import re
from pathlib import Path

from dermlens.evaluation.ledger import run_openings
from dermlens.files import copy_file, write_text
from dermlens.predict.document import read_document
from dermlens.predict.model_files import DOCUMENT_FILE, MEASURED_FILE, write_measured
from dermlens.records import RunRecord
from dermlens.report.card import write_card
from dermlens.report.interpretation import provenance
from dermlens.report.provenance import Exported, licence_text
from dermlens.report.run_data import RunData
from dermlens.runs import Run

CARD, LICENCE = "MODEL_CARD.md", "LICENSE"
HAM10000 = "ham10000"


def write_notices(source: Path, folder: Path) -> list[Path]:
    """Write MODEL_CARD.md and measured.json of an evaluated run, and LICENSE of one trained on HAM10000.

    A source without scores gives its own card and measurements along, where it was itself exported; the card
    without its section on files, which were others. So it does with a licence where HAM10000 has no part in
    the run. Older ones in the folder, which were another model's, are taken away.

    Args:
        source: the run that was exported, or any folder with a saved model.
        folder: what the export wrote.

    Returns:
        What was written.

    Raises:
        UserError: as `write_card` raises it, or a file of the run cannot be read.
    """
    run = Run(source)
    record = run.read_record()
    written = []
    if run.metrics_file.is_file():
        found, looks = RunData(run), run_openings(run).to_json()
        written.append(write_card(run, found=found, exported=Exported.read(folder)))
        written.append(write_measured(found.scores, found.roles[0], found.limits, folder, looks=looks))
    else:
        written += _take_along(source, folder, CARD)
        if (folder / CARD).is_file():
            text = (folder / CARD).read_text(encoding="utf-8")
            write_text(folder / CARD, re.sub(r"^## Files\n.*?(?=^## )", "", text, flags=re.M | re.S))
        written += _take_along(source, folder, MEASURED_FILE)
    if _is_of_ham10000(run, record):
        document = folder / DOCUMENT_FILE
        boundary = read_document(document).dermoscopy if document.is_file() else None
        write_text(folder / LICENCE, licence_text(run.recipe.model, record, boundary))
        written.append(folder / LICENCE)
    else:
        written += _take_along(source, folder, LICENCE)
    return written


def _take_along(source: Path, folder: Path, name: str) -> list[Path]:
    """Copy a file of the source; where it has none, take away an older one. Returns: what was written."""
    if not (source / name).is_file():
        (folder / name).unlink(missing_ok=True)
        return []
    if source.resolve() == folder.resolve():
        return []
    copy_file(source / name, folder / name)
    return [folder / name]


def _is_of_ham10000(run: Run, record: RunRecord) -> bool:
    """Whether HAM10000 had a part in a run, as its lesion ids and the names of `data.also_train` tell."""
    further = [*(record.also_train or {}).get("folders", ())]
    further += [folder for recipe in run.recipes() for folder in recipe.data.also_train]
    if any(HAM10000 in Path(folder).name.lower() for folder in further):
        return True
    if run.split_file.is_file():
        return provenance(run.split().roles) == HAM10000
    return run.predictions_file.is_file() and provenance(run.predictions()) == HAM10000
