"""Arms on the same images, with paired intervals for what each differs by from the baseline.

A difference is taken resample by resample on the same draw of lesions, as in `evaluation.comparison`: it says
how far the images drawn may have made it, not what another seed of the training would.

Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dermlens.evaluation.config import EvaluationConfig
from dermlens.evaluation.intervals import Estimate, Place, draw_lesions, estimate
from dermlens.evaluation.predictions import classes_of
from dermlens.metrics import Floats
from dermlens.studies.rules import of_one_kind
from dermlens.studies.scores import judge, numbers, recall_estimates

COLUMNS = (
    "arm", "decision", "metric", "value", "low", "high", "difference", "difference_low", "difference_high",
)  # fmt: skip

Row = dict[str, float]
"""value, low, high, difference, difference_low, difference_high; NaN where there is none."""


def compare_arms(tables: Mapping[str, pd.DataFrame], config: EvaluationConfig) -> pd.DataFrame:
    """Score arms on the images that all of them predicted.

    Args:
        tables: out-of-fold predictions by arm, all of the same images in the same order; the first is the
            baseline.
        config: of the bootstrap.

    Returns:
        A row for each arm, decision and metric, `recall_<class>` among them; differences are empty for the
        baseline.
    """
    names = list(tables)
    baseline = tables[names[0]]
    for table in tables.values():
        assert table[["image_id", "target"]].equals(baseline[["image_id", "target"]])
    classes = classes_of(baseline)
    judged = {name: judge(table, of_one_kind) for name, table in tables.items()}
    decided = {name: one.decisions for name, one in judged.items()}
    target_N = judged[names[0]].target_N

    def statistic(weights: Floats | None) -> Mapping[Place, Floats]:
        """Values and differences in one pass, so that both see the same draw."""
        found: dict[Place, Floats] = {}
        for decision in decided[names[0]]:
            first = numbers(target_N, decided[names[0]][decision], classes, weights)
            found |= {(names[0], decision, "value", *place): value for place, value in first.items()}
            for name in names[1:]:
                this = numbers(target_N, decided[name][decision], classes, weights)
                found |= {(name, decision, "value", *place): value for place, value in this.items()}
                found |= {
                    (name, decision, "difference", *place): value - first[place]
                    for place, value in this.items()
                }
        return found

    resamples = draw_lesions(
        baseline["lesion_id"].to_numpy(dtype=str), target_N, replicates=config.bootstrap, seed=config.seed
    )
    estimates = estimate(statistic, resamples, level=config.level)
    for name in names:
        for decision, one in decided[name].items():
            own = recall_estimates(target_N, one, classes, resamples, level=config.level)
            estimates |= {(name, decision, "value", *place): found for place, found in own.items()}
    rows = []
    for (name, decision, kind, *metric), value in estimates.items():
        if kind == "value":
            difference = estimates.get((name, decision, "difference", *metric))
            rows.append(_row(name, decision, "_".join(metric), value, difference))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COLUMNS[3:], "float64"))


def by_arm(rows: pd.DataFrame) -> dict[str, dict[str, Row]]:
    """The rows of one decision by arm and metric."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows.to_dict("records"):
        numbers = {name: float(row[name]) for name in COLUMNS[3:]}
        found.setdefault(str(row["arm"]), {})[str(row["metric"])] = numbers
    return found


def _row(
    arm: str, decision: str, metric: str, value: Estimate, difference: Estimate | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": arm, "decision": decision, "metric": metric, **value}
    for part in ("value", "low", "high"):
        name = "difference" if part == "value" else f"difference_{part}"
        row[name] = difference[part] if difference is not None else None
    return row
