"""How well a model does on a source that took no part in its training, and which of two models does better.

The measure that decides is the log loss at an equal prior over the classes that the source has enough
lesions of: each class weighs alike whatever its share there, each lesion of a class weighs alike whatever
its images. Two models are compared lesion by lesion.

Shapes: N images, C classes, `...` the leading axes of the weights, K kept classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays, classes_of
from dermlens.errors import UserError
from dermlens.evaluation.intervals import Place, estimate, nest, resamples_of
from dermlens.metrics import Floats
from dermlens.sections import EvaluationConfig

ENOUGH_TO_KEEP = 50
"""Lesions of a class that a source must have for the class to count there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A loss less another, in nats; below 0 the first model is the better one.

    Attributes:
        value: mean over the classes of the mean over their lesions.
        error: its standard error, the lesions of each class being drawn anew.
    """

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class Decision:
    """A candidate against a baseline over several sources.

    Attributes:
        sources: the difference on each.
        mean: of them.
        worst: the source with the largest difference.
    """

    sources: dict[str, Difference]
    mean: Difference
    worst: str

    @property
    def worst_holds(self) -> bool:
        """Whether the worst source falls by no more than one standard error."""
        return self.sources[self.worst].value <= self.sources[self.worst].error


def kept_classes(predictions: pd.DataFrame, enough: int = ENOUGH_TO_KEEP) -> tuple[str, ...]:
    """The classes that have so many lesions, in the order of the probabilities."""
    lesions = predictions.groupby("target")["lesion_id"].nunique()
    return tuple(code for code in classes_of(predictions) if lesions.get(code, 0) >= enough)


def lesion_losses(predictions: pd.DataFrame, enough: int = ENOUGH_TO_KEEP) -> pd.Series[float]:
    """The log loss of each lesion at an equal prior over the kept classes.

    Args:
        predictions: of one source, by a model whose probabilities hold at equal class shares.
        enough: lesions of a class for it to be kept.

    Returns:
        −log of the probability of the true class among the kept ones, in nats, the mean over a lesion's
        images; by `target` and `lesion_id`, sorted.

    Raises:
        UserError: fewer than two classes have so many lesions.
    """
    kept = kept_classes(predictions, enough)
    if len(kept) < 2:
        raise UserError(
            f"a source needs two classes of {enough} lesions or more to be scored; it has {len(kept)}"
        )
    rows = predictions[predictions["target"].isin(kept)]
    tiny = np.finfo(np.float64).eps
    p_NK = np.maximum(rows[[f"p_{code}" for code in kept]].to_numpy(dtype=np.float64), tiny)
    index = {code: number for number, code in enumerate(kept)}
    hit_N = p_NK[np.arange(len(rows)), [index[code] for code in rows["target"]]]
    loss_N = pd.Series(np.log(p_NK.sum(axis=1)) - np.log(hit_N), index=rows.index, name="log_loss")
    means: pd.Series[float] = loss_N.groupby([rows["target"], rows["lesion_id"]]).mean().sort_index()
    return means


def equal_prior_mean(loss: pd.Series[float]) -> Difference:
    """Mean over classes of the mean over lesions, and its standard error √(Σ_k s_k²/n_k)/K.

    Args:
        loss: by `target` and `lesion_id`, or differences of two such.
    """
    by_class = loss.groupby(level="target")
    variance_K = by_class.var(ddof=1) / by_class.size()
    return Difference(float(by_class.mean().mean()), math.sqrt(variance_K.sum()) / len(variance_K))


def paired_difference(candidate: pd.Series[float], baseline: pd.Series[float]) -> Difference:
    """Candidate less baseline, lesion by lesion.

    Raises:
        UserError: the two are not of the same lesions.
    """
    if not candidate.index.equals(baseline.index):
        other = candidate.index.symmetric_difference(baseline.index)
        raise UserError(
            f"the two predicted other lesions or other diagnoses, {', '.join(other[0])} for one: only"
            " predictions of the same lesions can be paired"
        )
    return equal_prior_mean(candidate - baseline)


def decide(candidate: Mapping[str, pd.DataFrame], baseline: Mapping[str, pd.DataFrame]) -> Decision:
    """Compare two models over the sources that both were scored on.

    Args:
        candidate: predictions by source, of a training that left that source out.
        baseline: predictions by source, of a training that left that source out.

    Raises:
        UserError: no source in common, or other lesions of one.
    """
    shared = [source for source in baseline if source in candidate]
    if not shared:
        raise UserError("the two have no left-out source in common: there is nothing to compare")
    sources = {
        source: paired_difference(lesion_losses(candidate[source]), lesion_losses(baseline[source]))
        for source in shared
    }
    mean = mean_over_sources(list(sources.values()))
    return Decision(sources, mean, max(sources, key=lambda source: sources[source].value))


def mean_over_sources(parts: Sequence[Difference]) -> Difference:
    """Each source weighs alike; their lesions are others, so their errors add up as independent ones do."""
    error = math.sqrt(sum(part.error**2 for part in parts)) / len(parts)
    return Difference(sum(part.value for part in parts) / len(parts), error)


def score_source(predictions: pd.DataFrame, config: EvaluationConfig) -> dict[str, Any]:
    """Every number of a left-out source.

    Args:
        predictions: of the source's images.
        config: of the bootstrap over lesions.

    Returns:
        `images`, `lesions`, `support` (lesions by class), `kept` (classes with enough of them), `log_loss`
        with its `error`, and {value, low, high} of `macro_auc` and `mean_recall` over the kept classes, and
        of `auc` (one against the rest) and `recall` (of the most probable class) by class. All at equal class
        shares.
    """
    classes, kept = classes_of(predictions), kept_classes(predictions)
    target_N, p_NC = arrays(predictions, classes)
    named_N = metrics.decided_classes(p_NC)
    is_kept_C = np.array([code in kept for code in classes])

    def statistic(weights: Floats | None) -> dict[Place, Floats]:
        counts = metrics.one_vs_rest(target_N, named_N, len(classes), weights)
        auc_C = metrics.auc_by_class(target_N, p_NC, weights)
        found: dict[Place, Floats] = {
            ("macro_auc",): auc_C[..., is_kept_C].mean(axis=-1),
            ("mean_recall",): counts.recall[..., is_kept_C].mean(axis=-1),
        }
        for index, code in enumerate(classes):
            found["auc", code] = auc_C[..., index]
            found["recall", code] = counts.recall[..., index]
        return found

    resamples = resamples_of(predictions, target_N, config)
    lesions = predictions.groupby("target")["lesion_id"].nunique()
    loss = equal_prior_mean(lesion_losses(predictions))
    return {
        "images": len(predictions),
        "lesions": int(predictions["lesion_id"].nunique()),
        "support": {code: int(lesions.get(code, 0)) for code in classes},
        "kept": list(kept),
        "log_loss": {"value": loss.value, "error": loss.error},
        **nest(estimate(statistic, resamples, level=config.level)),
    }
