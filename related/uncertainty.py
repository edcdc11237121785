"""What a probability is worth: log loss, Brier score, calibration error, and errors by the share answered.

Shapes: N images, C classes, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays, classes_of
from dermlens.evaluation.calibration import ece, ece_by_chance
from dermlens.metrics import Floats, Ints
from dermlens.sections import EvaluationConfig
from related.study import Study
from related.table import table_of

METRICS = {
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error",
    "risk_area": "area under risk and coverage",
    "error_at_80": "error of the surest 80 %",
}
"""Metric → words; the lower the better, all of them."""
CHANCE = ("ece_chance_low", "ece_chance_high")
"""Columns beside `ece`: what the error would be by chance alone, were every probability exactly right."""
SHARE = 0.8


def numbers(
    target_N: Ints, p_NC: Floats, classes: Sequence[str], weights: Floats | None
) -> dict[str, Floats]:
    """All METRICS, each with the leading axes of the weights."""
    del classes
    area, error = risk_and_coverage(target_N, p_NC, weights)
    return {
        "log_loss": metrics.log_loss(target_N, p_NC, weights),
        "brier": metrics.brier(target_N, p_NC, weights),
        "ece": ece(target_N, p_NC, weights),
        "risk_area": area,
        "error_at_80": error,
    }


def risk_and_coverage(target_N: Ints, p_NC: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Errors among the images that are answered, in falling order of the highest probability.

    Args:
        target_N: class indices.
        p_NC: probabilities; images of equal confidence come in the order in which they stand.
        weights: (..., N); none for ones.

    Returns:
        The mean of the error over every share from 1/N to 1 (Geifman and El-Yaniv 2017), and the error of the
        surest images that make up at least SHARE of all.
    """
    order = np.argsort(-p_NC.max(axis=1), kind="stable")
    wrong_N = (metrics.decided_classes(p_NC) != target_N)[order]
    w = (np.ones(len(target_N)) if weights is None else weights)[..., order]
    answered, total = np.cumsum(w, axis=-1), w.sum(axis=-1)
    missed = np.cumsum(w * wrong_N, axis=-1)
    risk = np.divide(missed, answered, out=np.zeros_like(missed), where=answered > 0)
    last = (answered < SHARE * total[..., None] - 1e-9).sum(axis=-1)
    error = np.take_along_axis(risk, np.asarray(last)[..., None], axis=-1)[..., 0]
    return np.asarray((w * risk).sum(axis=-1) / total), np.asarray(error)


def uncertainty_table(
    study: Study, predictions: Mapping[str, Sequence[pd.DataFrame]], config: EvaluationConfig
) -> pd.DataFrame:
    """As `table_of`, with METRICS, and the band of the calibration error that chance gives.

    Args:
        study: which system is compared with which.
        predictions: of systems whose probabilities are meant as such.
        config: of the bootstrap, and of the draws of the band.
    """
    table = table_of(study, predictions, config, numbers)
    bands = {name: _band(seeds, config) for name, seeds in predictions.items()}
    is_ece = table["metric"] == "ece"
    for place, column in enumerate(CHANCE):
        value = table["system"].map({name: band[place] for name, band in bands.items()})
        table[column] = value.where(is_ece)
    return table


def _band(seeds: Sequence[pd.DataFrame], config: EvaluationConfig) -> tuple[float, float]:
    """The mean over the seeds of both ends; not a number without draws."""
    found = []
    for one in seeds:
        p_NC = arrays(one, classes_of(one))[1]
        band = ece_by_chance(p_NC, draws=config.bootstrap, seed=config.seed, level=config.level)
        found.append([np.nan if band[end] is None else band[end] for end in ("low", "high")])
    low, high = np.mean(np.array(found, dtype=np.float64), axis=0)
    return float(low), float(high)
