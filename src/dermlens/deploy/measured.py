"""measured.json beside a model: what was measured of it, for programs and pages to show. Free of pandas.

It holds what the card says in words and tables, of the same metrics.json: recall of each class with interval
and number of images, three scores, how many images each group of patients has, and what the data lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dermlens.atomic import read_json, write_json

MEASURED_FILE = "measured.json"
SCORES = {"mean recall": "balanced_accuracy_isic", "accuracy": "accuracy", "calibration error": "ece"}


def write_measured(
    metrics: Mapping[str, Any], role: str, lacks: Sequence[str], folder: Path, *, looks: Mapping[str, Any]
) -> Path:
    """Write what a page shows of a model's limits.

    Args:
        metrics: the content of an evaluated run's metrics.json.
        role: whose scores count: the test role where it was opened.
        lacks: sentences on what the data cannot show.
        folder: of the model.
        looks: at the test role, as `Openings.to_json` gives them.
    """
    scores = metrics["roles"][role]
    found = {
        "role": role,
        "test_openings": dict(looks),
        "images": scores["images"],
        "lesions": scores["lesions"],
        "scores": {name: _estimate(scores["overall"][key]) for name, key in SCORES.items()},
        "recall": {
            code: {"images": one["support"]} | _estimate(one["recall"])
            for code, one in scores["per_class"].items()
        },
        "groups": {
            field: {group: one["images"] for group, one in groups.items()}
            for field, groups in scores["subgroups"].items()
        },
        "lacks": list(lacks),
    }
    write_json(folder / MEASURED_FILE, found)
    return folder / MEASURED_FILE


def read_measured(folder: Path) -> dict[str, Any] | None:
    """What was measured of a model; none where nobody wrote it down. Raises: UserError when it is damaged."""
    path = folder / MEASURED_FILE
    return read_json(path) if path.is_file() else None


def _estimate(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one[key] for key in ("value", "low", "high")}
