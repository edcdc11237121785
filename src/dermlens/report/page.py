"""report.html: one page that holds everything, recall per class before any accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermlens.errors import UserError
from dermlens.evaluation.ledger import run_openings
from dermlens.files import write_text
from dermlens.labels import Vocabulary
from dermlens.records import Metrics, RunRecord, ScoredSet, number
from dermlens.report import decision_tables, detection_tables, tables
from dermlens.report import figures as pictures
from dermlens.report import interpretation as words
from dermlens.report import provenance as made
from dermlens.report.card import write_card
from dermlens.report.curves import kept_epoch
from dermlens.report.gallery import build_gallery, worst_errors
from dermlens.report.run_data import RunData, find_scored, measure_leak, read_run_data
from dermlens.report.tables import ROLE_ORDER, count, duration, environment, in_role_order
from dermlens.runs import Run

if TYPE_CHECKING:
    import pandas as pd


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
    scored = find_scored(run, data)
    metrics = scored.metrics
    if not metrics.roles:
        raise UserError(
            f"{scored.metrics_file} has no scored role: `dermlens evaluate {run.path}` scores the run again"
        )
    predictions = scored.predictions()
    found = read_run_data(run, scored, predictions, list(metrics.classes), data)
    if scored.path == run.path:
        write_card(run, found=found)
    context = _context(run, scored, metrics, predictions, found)
    write_text(scored.report_file, environment().get_template("report.html.j2").render(**context))
    return scored.report_file


def what_the_numbers_mean(run: Run) -> list[str]:
    """The run's protocol and its roles in plain words, as the page has them: one sentence or a few each.

    Raises:
        UserError: the run has no metrics or predictions.
    """
    metrics = run.metrics
    roles = in_role_order(metrics.roles)
    leak = measure_leak(run, run.predictions(), roles[0])
    return words.protocol_words(run.read_record(), run.recipes(), metrics, roles, leak, run_openings(run))


def _context(
    run: Run, scored: Run, metrics: Metrics, predictions: pd.DataFrame, found: RunData
) -> dict[str, Any]:
    """Everything the template shows."""
    record = run.read_record()
    recipe = run.recipe if run.recipe_file.is_file() else None
    classes = list(metrics.classes)
    vocabulary = Vocabulary(classes, metrics.described)
    roles = in_role_order(metrics.roles)
    role, scores = roles[0], metrics.roles[roles[0]]
    of_role = predictions[predictions["role"] == role].reset_index(drop=True)
    album = pictures.Album(scored.figures)
    kept = record.kept_epoch
    if kept is None and recipe and found.history is not None:
        kept = kept_epoch(found.history, recipe.train.keep)
    source = words.provenance(predictions)
    warnings = list(dict.fromkeys([*record.warnings, *metrics.warnings]))
    return {
        "name": recipe.name if recipe else run.path.resolve().name,
        "notice": words.NOTICE,
        "role": role,
        "scores": scores,
        "classes": classes,
        "names": {code: vocabulary.name(code) for code in classes},
        "synthetic": source == "synthetic",
        "facts": _facts(record, recipe, role, scores, metrics.data),
        "warnings": [text for text in warnings if not _of_another(text, role, roles)],
        "other_warnings": [text for text in warnings if _of_another(text, role, roles)],
        "sought": vocabulary.sought_group or "melanoma",
        "melanoma_words": words.sought_words(scores, vocabulary),
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
        "roles_table": (
            tables.roles_table(
                metrics,
                roles,
                words.role_marks(roles, run.recipes(), decided=metrics.decision == "calibrated"),
            )
            if len(roles) > 1
            else None
        ),
        "protocol_words": words.protocol_words(
            record, run.recipes(), metrics, roles, measure_leak(run, predictions, role), run_openings(run)
        ),
        "detection": [
            table
            for table in (
                detection_tables.suspicion_table(scores),
                *detection_tables.suspicion_by_group(scores),
                detection_tables.detection_table(scores),
                detection_tables.operating_table(scores),
                detection_tables.probability_table(scores),
                detection_tables.net_benefit_table(scores),
            )
            if table
        ],
        "curves": pictures.curve_pictures(album, scores, of_role, classes),
        "ranking": tables.ranking_table(scores),
        "reliability": (tables.reliability_table(scores), pictures.reliability_picture(album, scores)),
        "equal": decision_tables.equal_table(scores),
        "decisions": pictures.decision_pictures(album, scores),
        "subgroups": tables.subgroup_tables(scores, classes),
        "counts": (
            (tables.counts_table(found.counts, classes), pictures.class_picture(album, found.counts, classes))
            if found.counts
            else None
        ),
        "people": (tables.people_table(found.people), pictures.metadata_picture(album, found.people)),
        "people_note": found.people_note,
        "training": _training(found, album, kept),
        "gallery": build_gallery(
            run, worst_errors(of_role, vocabulary), found.images, found.images_note, album.folder
        ),
        "recipe_text": run.recipe_file.read_text(encoding="utf-8") if recipe else None,
        "made_with": _made_with(record, recipe, found.seconds),
        "commands": _commands(run, roles, decided=metrics.decision == "calibrated"),
        "files": [
            (name, text)
            for name, text in FILES.items()
            if name == "report.html" or (scored.path / name).exists()
        ],
        "limits": words.data_limits(source, classes, found.acral, words.further_sets(record)),
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _of_another(warning: str, role: str, roles: list[str]) -> bool:
    """Whether a warning is about another role than the page; such a warning begins with that role's name."""
    return any(warning.startswith(f"{other}: ") for other in roles if other != role)


def _facts(
    record: RunRecord, recipe: Any, role: str, scores: Mapping[str, Any], other: ScoredSet | None
) -> tables.Facts:
    """The few lines under the title; `other` is what metrics.json says of a set that is not the run's own."""
    facts = tables.Facts()
    facts.add("Scored here", f"role {role}: {scores['images']} images of {scores['lesions']} lesions")
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


def _made_with(record: RunRecord, recipe: Any, seconds: float | None) -> tables.Facts:
    """What the numbers depend on apart from recipe and data."""
    facts = tables.Facts()
    facts.add("Python", record.python)
    facts.add("Packages", ", ".join(f"{name} {version}" for name, version in record.versions.items()))
    facts.add("Machine", ", ".join(str(value) for value in record.machine.values() if value))
    facts.add("Device", record.device)
    facts.add("Git commit", record.git_commit)
    facts.add("Seed", recipe.seed if recipe else None)
    facts.add("Trainable parameters", count(record.trainable_parameters or record.parameters))
    facts.add("Training time", duration(seconds) if seconds else None)
    facts.add("SHA-256 of the table", record.table_sha256)
    return facts


def _training(found: RunData, album: pictures.Album, kept: int | None) -> Any:
    """The kept epoch next to the last one, and the curves."""
    history = found.history
    if history is None or history.empty:
        return None
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


def _commands(run: Run, roles: list[str], *, decided: bool) -> list[str]:
    """The commands that lead to this page again; DIR is the data, RUN a new folder."""
    decision = run.decision() if decided else None
    ood = decision.ood.kind if decision is not None and decision.ood is not None else None
    if any(role in ROLE_ORDER for role in roles):
        return made.commands(run, roles, ood=ood, decided=decided, int8=None)
    way = made.commands(run, (), ood=ood, decided=decided, int8=None)[:-1]
    return [*way, "dermlens evaluate RUN --data THIS_SET", "dermlens report RUN --data THIS_SET"]
