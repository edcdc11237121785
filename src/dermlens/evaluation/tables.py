"""The scores as a person reads them on a terminal: recall per class first."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dermlens.labels import Vocabulary

OVERALL = {
    "balanced_accuracy_isic": "mean recall of the diagnosis (ISIC: a tie counts as wrong)",
    "balanced_accuracy_ovr": "mean of (sensitivity + specificity) / 2 of the diagnosis (the paper's)",
    "accuracy": "accuracy of the diagnosis",
    "ece": "expected calibration error of the probabilities",
    "brier": "Brier score of the probabilities",
    "log_loss": "log loss of the probabilities",
}


def estimate(value: dict[str, float | None] | None) -> str:
    """An estimate with its interval: `0.73 [0.65–0.80]`; a dash where it is not defined."""
    if value is None or value["value"] is None:
        return "–"
    if value.get("low") is None or value.get("high") is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} [{value['low']:.3f}–{value['high']:.3f}]"


def render_metrics(metrics: dict[str, Any]) -> RenderableType:
    """Every scored role: per-class table, then the overall figures."""
    parts: list[RenderableType] = []
    vocabulary = Vocabulary(metrics["classes"], metrics.get("described"))
    for role, scores in metrics["roles"].items():
        classes = Table(title=f"{role}: {scores['images']} images of {scores['lesions']} lesions")
        for column in ("diagnosis", "n", "recall", "precision", "specificity", "AUC"):
            classes.add_column(column, justify="left" if column == "diagnosis" else "right")
        for code, row in scores["per_class"].items():
            cells = [estimate(row[name]) for name in ("recall", "precision", "specificity", "auc")]
            classes.add_row(f"{code}  {vocabulary.name(code)}", str(row["support"]), *cells)
        overall = Table(box=None, show_header=False)
        for name, words in OVERALL.items():
            overall.add_row(words, estimate(scores["overall"].get(name)))
        overall.add_row(
            "AUC of the probabilities, mean over classes", estimate(scores["averages"]["macro"]["auc"])
        )
        parts += [classes, overall]
    parts += [Text(warning, style="yellow") for warning in metrics.get("warnings", ())]
    return Group(*parts)
