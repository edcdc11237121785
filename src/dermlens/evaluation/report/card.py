"""model_card.md: what the model is, how well it does and what it is not for (Mitchell et al. 2019)."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from dermlens.atomic import write_text
from dermlens.evaluation.predictions import read_predictions
from dermlens.evaluation.report import words as words
from dermlens.evaluation.report.data import measure_leak, read_history, training_seconds
from dermlens.evaluation.report.numbers import count, duration, estimate, in_role_order
from dermlens.labels import full_name
from dermlens.runs import Run

USES = (
    "Research on classifiers of dermoscopic images: comparing methods, protocols and data.",
    "Teaching what such a classifier does, and where it fails.",
)
NO_USES = (
    "Deciding anything about a person: whether to see a physician, to biopsy, to treat or to wait.",
    "Screening, and images that were not taken with a dermatoscope.",
    "Any commercial use that the licence of the images does not allow.",
)


def write_card(run: Run) -> Path:
    """Write the model card of an evaluated run.

    Args:
        run: with metrics.json and predictions.csv.

    Returns:
        The card's path.

    Raises:
        UserError: the run has not been evaluated.
    """
    metrics = run.read_metrics()
    predictions = read_predictions(run.predictions_file)
    record = run.read_record() if run.record_file.is_file() else {}
    recipe = run.recipe() if run.recipe_file.is_file() else None
    roles = in_role_order(metrics["roles"])
    classes = list(metrics["classes"])
    scores = metrics["roles"][roles[0]]
    source = words.provenance(predictions)
    environment = Environment(
        loader=PackageLoader("dermlens.evaluation.report"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_markdown,
    )
    text = environment.get_template("model_card.md.j2").render(
        name=recipe.name if recipe else run.path.resolve().name,
        notice=words.NOTICE,
        recipe=recipe,
        source=source,
        record=record,
        parameters=count(record.get("trainable_parameters", record.get("parameters"))),
        seconds=duration(seconds) if (seconds := training_seconds(read_history(run))) else None,
        role=roles[0],
        scores=scores,
        classes=[(code, full_name(code), scores["per_class"][code]) for code in classes],
        melanoma_words=words.melanoma_words(scores, classes),
        protocol_words=words.protocol_words(
            record, recipe, metrics, roles, measure_leak(run, predictions, roles[0])
        ),
        limits=words.data_limits(source, classes),
        uses=USES,
        no_uses=NO_USES,
        estimate=estimate,
    )
    path = run.path / "model_card.md"
    write_text(path, text)
    return path


def _markdown(value: object) -> object:
    """Text from a run as text: no HTML, no table cell of its own making."""
    if not isinstance(value, str):
        return value
    return " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
