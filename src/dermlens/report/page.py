"""report.html: one page that holds everything, recall per class before any accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dermlens.files import write_text
from dermlens.records import number
from dermlens.report import decision_tables, detection_tables, provenance, tables
from dermlens.report import figures as pictures
from dermlens.report import interpretation as words
from dermlens.report.card import write_card
from dermlens.report.curves import kept_epoch
from dermlens.report.gallery import build_gallery, worst_errors
from dermlens.report.run_data import RunData
from dermlens.report.tables import ROLE_ORDER, duration, environment
from dermlens.runs import Run

FILES = {
    "report.html": "this page",
    "model_card.md": "the model card",
    "metrics.json": "every score, recomputed from predictions.csv",
    "predictions.csv": "one row a scored image: probabilities, truth, metadata",
    "recipe.yaml": "the resolved recipe",
    "run.json": "status, versions, machine, data hash, times",
    "split.csv": "which image plays which role",
    "test_ledger.csv": "every look at the test role",
    "history.csv": "one row an epoch",
    "model.safetensors": "the weights",
    "model.json": "everything else that rebuilds the model",
    "figures": "every figure of this page",
    "checkpoints": "for resuming the training",
}


def write_report(run: Run, *, data: Path | None = None) -> Path:
    """Write report.html, model_card.md and figures/ of an evaluated run.

    Args:
        run: with metrics.json and predictions.csv; anything else of the run that is absent is left out and
            said to be.
        data: a set that `dermlens evaluate RUN --data` has scored, whose report is then written next to its
            scores; or where the run's own images are now. None takes the folder the run was trained on.

    Returns:
        The path of the page.

    Raises:
        UserError: the run has no metrics or predictions, or the named folder is not a data set.
    """
    found = RunData(run, data)
    _ = found.images  # a wrong folder is refused before anything is written
    if found.is_own:
        write_card(run, found=found)
    page = environment().get_template("report.html.j2").render(_context(found))
    write_text(found.scored.report_file, page)
    return found.scored.report_file


def _context(found: RunData) -> dict[str, Any]:
    """Everything the template shows."""
    run, scored, metrics, record, recipe = found.run, found.scored, found.metrics, found.record, found.recipe
    classes, vocabulary, scores = found.classes, found.vocabulary, found.scores
    role, *others = roles = found.roles
    predictions = found.predictions
    of_role = predictions[predictions["role"] == role].reset_index(drop=True)
    album = pictures.Album(scored.figures)
    warnings = list(dict.fromkeys([*record.warnings, *metrics.warnings]))
    marks = words.role_marks(roles, run.recipes(), decided=found.is_decided)
    return found.facts() | {
        "classes": classes,
        "names": {code: vocabulary.name(code) for code in classes},
        "facts": _facts(found),
        "warnings": [text for text in warnings if not _begins_with(others, text)],
        "other_warnings": [text for text in warnings if _begins_with(others, text)],
        "sought": vocabulary.sought_group or "melanoma",
        "recall": (
            tables.recall_table(scores, role, vocabulary),
            pictures.recall_picture(album, scores, vocabulary.sought),
        ),
        "confusion": (
            tables.confusion_table(scores, classes),
            pictures.confusion_picture(album, scores, classes),
        ),
        "overall": [
            tables.overall_table(scores, role),
            tables.averages_table(scores),
            tables.class_table(scores),
        ],
        "roles_table": tables.roles_table(metrics, roles, marks) if others else None,
        "detection": tables.present(
            detection_tables.suspicion_table(scores),
            *detection_tables.suspicion_by_group(scores),
            detection_tables.detection_table(scores),
            detection_tables.operating_table(scores),
            detection_tables.probability_table(scores),
            detection_tables.net_benefit_table(scores),
        ),
        "curves": pictures.curve_pictures(album, scores, of_role, classes),
        "ranking": tables.ranking_table(scores),
        "reliability": (tables.reliability_table(scores), pictures.reliability_picture(album, scores)),
        "equal": decision_tables.equal_table(scores),
        "decisions": pictures.decision_pictures(album, scores),
        "counts": (
            tables.counts_table(found.counts, classes),
            pictures.class_picture(album, found.counts, classes),
        ),
        "people": (tables.people_table(found.people), pictures.metadata_picture(album, found.people)),
        "people_note": found.people_note,
        "training": _training(found, album),
        "gallery": build_gallery(
            run, worst_errors(of_role, vocabulary), found.images, found.images_note, album.folder
        ),
        "recipe_text": run.recipe_file.read_text(encoding="utf-8") if recipe else None,
        "made_with": _made_with(found),
        "commands": _commands(found),
        "files": [
            (name, text)
            for name, text in FILES.items()
            if name == "report.html" or (scored.path / name).exists()
        ],
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _begins_with(roles: Sequence[str], warning: str) -> bool:
    """Whether a warning is about one of the roles: such a warning begins with the role's name."""
    return any(warning.startswith(f"{role}: ") for role in roles)


def _facts(found: RunData) -> tables.Facts:
    """The few lines under the title."""
    record, recipe, scores, other = found.record, found.recipe, found.scores, found.metrics.data
    facts = tables.Facts()
    facts.add(
        "Scored here", f"role {found.roles[0]}: {scores['images']} images of {scores['lesions']} lesions"
    )
    protocol = words.split_protocol(record, recipe)
    facts.add("Split", f"protocol {protocol}" if protocol else None)
    if recipe:
        model = recipe.model
        attention = recipe.network.kernel or "none"
        facts.add("Network", f"{model.backbone}, cut {model.cut}, attention {attention}")
        encoder = recipe.data.metadata
        facts.add(
            "Patient metadata", "none" if encoder == "none" else f"encoder {encoder}, branch {model.metadata}"
        )
    facts.add("Scored set", other.name if other else None)
    facts.add("Training data" if other else "Data", record.data)
    facts.add("Trained", _moment(record.ended))
    return facts


def _moment(stamp: str | None) -> str | None:
    """A time as run.json has it, for people."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if stamp else None


def _made_with(found: RunData) -> tables.Facts:
    """What the numbers depend on apart from recipe and data."""
    record = found.record
    facts = tables.Facts()
    facts.add("Python", record.python)
    facts.add("Packages", ", ".join(f"{name} {version}" for name, version in record.versions.items()))
    facts.add("Machine", ", ".join(str(value) for value in record.machine.values() if value))
    facts.add("Device", record.device)
    facts.add("Git commit", record.git_commit)
    facts.add("Seed", found.recipe.seed if found.recipe else None)
    facts.add("Trainable parameters", found.parameters)
    facts.add("Training time", duration(found.seconds) if found.seconds else None)
    facts.add("SHA-256 of the table", record.table_sha256)
    return facts


def _training(found: RunData, album: pictures.Album) -> Any:
    """The kept epoch next to the last one, and the curves."""
    history, kept = found.history, found.record.kept_epoch
    if history is None or history.empty:
        return None
    if kept is None and found.recipe:
        kept = kept_epoch(history, found.recipe.train.keep)
    last = int(history["epoch"].iloc[-1])
    shown = [(last, "last")] if kept in (None, last) else [(kept, "kept"), (last, "last")]
    columns = [history[history["epoch"] == epoch].iloc[-1] for epoch, _ in shown]
    table = tables.Table(
        "Epochs",
        ("measure", *(f"epoch {epoch} ({what})" for epoch, what in shown)),
        [(words, *(number(row.get(name), 3) for row in columns)) for name, words in HISTORY.items()],
        "Epochs count from 0, as in history.csv.",
    )
    return table, pictures.training_picture(album, history, kept)


HISTORY = {
    "train_loss": "training loss",
    "val_loss": "held-out loss",
    "train_accuracy": "training accuracy",
    "val_accuracy": "held-out accuracy",
    "val_mean_recall": "held-out mean recall",
}


def _commands(found: RunData) -> list[str]:
    """The commands that lead to this page again; DIR is the data, RUN a new folder."""
    own = any(role in ROLE_ORDER for role in found.roles)
    roles = found.roles if own else ()
    way = provenance.commands(found.run, roles, ood=found.ood, decided=found.is_decided, int8=None)
    if own:
        return way
    return [*way[:-1], "dermlens evaluate RUN --data THIS_SET", "dermlens report RUN --data THIS_SET"]
