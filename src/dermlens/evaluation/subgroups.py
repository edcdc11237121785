"""The same scores among parts of the people, and on a source that took no part in the training.

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
from dermlens.evaluation.intervals import (
    Estimate,
    Place,
    Resamples,
    estimate,
    mean_recall,
    nest,
    resamples_of,
    share_within,
)
from dermlens.metrics import (
    Bools,
    Floats,
    Ints,
    decided_classes,
    macro,
    one_vs_rest,
    predicted_classes,
    weighted_mean,
)
from dermlens.sections import EvaluationConfig

# The same scores among men and women, young and old, by place on the body, by source and by skin tone.
#
# Numbers that rest on fewer than `ENOUGH` images are left out, with their n: with 10 melanomas a recall of
# 0.8 has a 95 % interval of about 0.44 to 0.97, and a table of such cells invites a story.


ENOUGH = 20
BANDS_BEGIN = (0, 40, 60)
"""Years; the last band is open. Narrower ones would leave too few melanomas in most."""
TONES = {"0–2": (0, 1, 2), "3": (3,), "4–5": (4, 5)}
"""Groups of skin tones, 0 darkest to 5 lightest: of MILK10k's images two thirds are 3, and 8 % are 0 to 2."""


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Some of the images.

    Attributes:
        kind: `sex`, `age`, `site`, `source` or `skin_tone`.
        name: such as `female`, `45–59`, `trunk`, `4–5`, `unknown`.
        inside: (N,), which images.
    """

    kind: str
    name: str
    inside: Bools


def age_band(age: float | None) -> str:
    """`0–39`, `40–59`, `60+`, or `unknown` for a missing age."""
    if age is None or np.isnan(age):
        return "unknown"
    ends = [*(begin - 1 for begin in BANDS_BEGIN[1:]), None]
    band = int(np.searchsorted(BANDS_BEGIN, age, side="right")) - 1
    return f"{BANDS_BEGIN[band]}+" if ends[band] is None else f"{BANDS_BEGIN[band]}–{ends[band]}"


def tone_group(tone: float | None) -> str:
    """`0–2`, `3`, `4–5`, or `unknown` for a missing skin tone."""
    return next((name for name, tones in TONES.items() if tone in tones), "unknown")


def tone_groups(predictions: pd.DataFrame) -> pd.Series[str] | None:
    """The group of skin tones of each image; none where no skin tone is known."""
    if "skin_tone" not in predictions or predictions["skin_tone"].isna().all():
        return None
    return predictions["skin_tone"].map(tone_group)


def find_subgroups(predictions: pd.DataFrame) -> list[Subgroup]:
    """The groups that hold any image, in a fixed order.

    By sex, by age band, by shared group of sites; by source where there are several, and by group of skin
    tones where any is known.
    """
    from dermlens.predict.sources.vocabulary import group_of

    names = {
        "sex": predictions["sex"].astype(str),
        "age": predictions["age"].map(age_band),
        "site": predictions["site"].map(lambda site: group_of(str(site))),
    }
    if "source" in predictions and len(set(predictions["source"])) > 1:
        names["source"] = predictions["source"].astype(str)
    if (tone_N := tone_groups(predictions)) is not None:
        names["skin_tone"] = tone_N
    return [
        Subgroup(kind, str(name), (name_N == name).to_numpy())
        for kind, name_N in names.items()
        for name in sorted(name_N.unique(), key=lambda name: (name == "unknown", name))
    ]


def subgroup_numbers(
    target_N: Ints,
    p_NC: Floats,
    classes: Sequence[str],
    groups: Sequence[Subgroup],
    weights: Floats | None,
    diagnosis_N: Ints | None = None,
) -> dict[tuple[str, ...], Floats]:
    """Accuracy, mean recall and recall per class within each group, where there is enough to count.

    All are of `diagnosis_N`, and of the highest probability where there is none.

    Accuracy needs `ENOUGH` images, the recall of a class as many of the class. The mean recall is given only
    where every class that the whole table holds has them in the group: over other sets of classes it is
    another number.
    """
    w = np.ones(len(target_N)) if weights is None else weights
    predicted_N = predicted_classes(p_NC) if diagnosis_N is None else diagnosis_N
    strict_N = decided_classes(p_NC) if diagnosis_N is None else diagnosis_N
    present = set(np.unique(target_N))
    undefined = np.full(w.shape[:-1], np.nan)
    numbers: dict[tuple[str, ...], Floats] = {}
    for group in groups:
        # Images outside carry no weight in the group; leaving them out is the same and costs less.
        target, inside = target_N[group.inside], w[..., group.inside]
        counts = one_vs_rest(target, predicted_N[group.inside], len(classes), inside)
        strict = one_vs_rest(target, strict_N[group.inside], len(classes), inside)
        support_C = positives(target_N, classes, group)
        all_enough = all(support_C[index] >= ENOUGH for index in present)
        at = ("subgroups", group.kind, group.name)
        numbers[*at, "accuracy"] = (
            weighted_mean(predicted_N[group.inside] == target, inside) if len(target) >= ENOUGH else undefined
        )
        numbers[*at, "balanced_accuracy_isic"] = (
            macro(strict.recall, strict.support) if all_enough else undefined
        )
        for index, code in enumerate(classes):
            enough = support_C[index] >= ENOUGH
            numbers[*at, "per_class_recall", code] = counts.recall[..., index] if enough else undefined
    return numbers


def recall_estimates(
    target_N: Ints,
    p_NC: Floats,
    classes: Sequence[str],
    groups: Sequence[Subgroup],
    resamples: Resamples,
    diagnosis_N: Ints | None,
    *,
    level: float,
) -> dict[Place, Estimate]:
    """The recalls of `subgroup_numbers` that are given, by place, with intervals for few lesions."""
    named_N = predicted_classes(p_NC) if diagnosis_N is None else diagnosis_N
    strict_N = decided_classes(p_NC) if diagnosis_N is None else diagnosis_N
    present = set(np.unique(target_N))
    found: dict[Place, Estimate] = {}
    if not len(resamples.counts):
        return found
    for group in groups:
        at = ("subgroups", group.kind, group.name)
        support_C = positives(target_N, classes, group)
        for index, code in enumerate(classes):
            if support_C[index] >= ENOUGH:
                inside_N = group.inside & (target_N == index)
                found[*at, "per_class_recall", code] = share_within(
                    named_N == index, inside_N, resamples, level=level
                )
        if all(support_C[index] >= ENOUGH for index in present):
            found[*at, "balanced_accuracy_isic"] = mean_recall(
                target_N, strict_N, len(classes), resamples, level=level, inside_N=group.inside
            )
    return found


def positives(target_N: Ints, classes: Sequence[str], group: Subgroup) -> Ints:
    """Images of each class in the group, (C,)."""
    return np.bincount(target_N[group.inside], minlength=len(classes)).astype(np.int64)


# How well a model does on a source that took no part in its training, and which of two models does better.
#
# The measure that decides is the log loss at an equal prior over the classes that the source has enough
# lesions of: each class weighs alike whatever its share there, each lesion of a class weighs alike whatever
# its images. Two models are compared lesion by lesion.


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
