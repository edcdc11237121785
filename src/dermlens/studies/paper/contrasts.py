"""Planned contrasts: what one changed thing does, on the same lesions, and how sure that is.

The bootstrap has two levels. Folds are drawn with replacement, because each is one training and another
training would differ; then lesions within the folds that were drawn, class by class, because other lesions
would differ. A difference is taken on the same draw for both arms. Its p-value is twice the smaller share of
draws on either side of zero, counted with one draw more; Holm's step-down holds the chance of any false
finding among all contrasts of a study to 5 %.

What is not told from zero is *inconclusive*, not equal: beside it stands the smallest effect that would have
been seen four times in five, (z_0.975 + z_0.8) · SE = 2.80 · SE (Cohen 1988).

Shapes: N images, L lesions, R draws, C classes, K contrasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermlens import metrics
from dermlens.evaluation.intervals import Resamples
from dermlens.evaluation.predictions import arrays, classes_of
from dermlens.metrics import Floats, Ints
from dermlens.studies.out_of_fold import FOLD
from dermlens.studies.scores import Decided, by_argmax, numbers

Measure = Literal["accuracy", "mean_recall", "macro_auc", "log_loss"]
POWER = 2.80
ALPHA = 0.05
COLUMNS = (
    "question", "arm", "reference", "measure", "images", "value", "reference_value", "difference", "low",
    "high", "p", "p_holm", "detectable", "matters", "verdict",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two arms that differ in one thing, chosen before either was trained.

    Attributes:
        question: that it belongs to.
        arm: the one that is changed.
        reference: the one that it is compared with.
        measure: the number that decides, of the class of the highest probability.
        matters: the smallest difference that would matter, in the measure's unit.
    """

    question: str
    arm: str
    reference: str
    measure: Measure
    matters: float


def draw_two_levels(
    lesion_N: NDArray[Any], stratum_N: Ints, fold_N: Ints, *, replicates: int, seed: int
) -> Resamples:
    """Draw folds with replacement, then lesions within each, stratum by stratum.

    Args:
        lesion_N: names of lesions, each in one fold.
        stratum_N: the class of each image; a lesion belongs to that of its first image.
        fold_N: the fold of each image.
        replicates: R.
        seed: of the draw.
    """
    _, first_L, index_N = np.unique(lesion_N, return_index=True, return_inverse=True)
    fold_L, stratum_L = fold_N[first_L], stratum_N[first_L]
    folds = np.unique(fold_L)
    rng = np.random.default_rng(seed)
    times_RF = rng.multinomial(len(folds), np.full(len(folds), 1 / len(folds)), size=replicates)
    count_RL = np.zeros((replicates, len(first_L)), dtype=np.int16)
    for column, fold in enumerate(folds):
        for stratum in np.unique(stratum_L):
            members = np.flatnonzero((fold_L == fold) & (stratum_L == stratum))
            if len(members):
                draws_R = times_RF[:, column] * len(members)
                count_RL[:, members] = rng.multinomial(draws_R, np.full(len(members), 1 / len(members)))
    return Resamples(count_RL, index_N.astype(np.int64))


def measure_contrasts(
    tables: Mapping[str, pd.DataFrame], contrasts: Sequence[Contrast], *, replicates: int, seed: int
) -> pd.DataFrame:
    """Every contrast whose two arms are there, before Holm's correction.

    Args:
        tables: out-of-fold predictions by arm, all of the same images in the same order.
        contrasts: as planned.
        replicates: how many draws; 2,000 bring the smallest p-value to 0.001.
        seed: of the draws.

    Returns:
        A row each, with `COLUMNS`; `p_holm` and `verdict` wait for `correct`.
    """
    compared = [one for one in contrasts if one.arm in tables and one.reference in tables]
    if not compared:
        return pd.DataFrame(columns=list(COLUMNS))
    first = tables[compared[0].arm]
    classes = classes_of(first)
    target_N, _ = arrays(first, classes)
    resamples = draw_two_levels(
        first["lesion_id"].to_numpy(dtype=str),
        target_N,
        first[FOLD].to_numpy(dtype=np.int64),
        replicates=replicates,
        seed=seed,
    )

    @cache
    def drawn(arm: str, measure: Measure) -> tuple[float, Floats]:
        """The number of an arm, and that of each draw; the draws are the same for all arms."""
        assert tables[arm]["image_id"].tolist() == first["image_id"].tolist()
        decided = by_argmax(arrays(tables[arm], classes)[1])
        values = [_number(measure, target_N, decided, classes, weights) for weights in resamples.blocks()]
        return float(_number(measure, target_N, decided, classes, None)), np.concatenate(values)

    rows = [
        _row(one, len(first), drawn(one.arm, one.measure), drawn(one.reference, one.measure))
        for one in compared
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def correct(rows: pd.DataFrame) -> pd.DataFrame:
    """Holm's correction over all rows, and what each row may be said to show.

    Args:
        rows: of `measure_contrasts`, of all questions together.
    """
    corrected = rows.assign(p_holm=holm(rows["p"].to_numpy(dtype=np.float64)))
    return corrected.assign(verdict=[_verdict(row) for row in corrected.to_dict("records")])


def holm(p_K: Floats) -> Floats:
    """Holm's step-down: p-values for all K hypotheses together (Holm 1979)."""
    order = np.argsort(p_K, kind="stable")
    stepped = np.maximum.accumulate(p_K[order] * (len(p_K) - np.arange(len(p_K))))
    corrected = np.empty_like(p_K)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def _row(
    contrast: Contrast, images: int, own: tuple[float, Floats], reference: tuple[float, Floats]
) -> dict[str, Any]:
    difference_R = own[1] - reference[1]
    low, high = np.quantile(difference_R, [ALPHA / 2, 1 - ALPHA / 2])
    sides = [int((difference_R <= 0).sum()), int((difference_R >= 0).sum())]
    return {
        "question": contrast.question,
        "arm": contrast.arm,
        "reference": contrast.reference,
        "measure": contrast.measure,
        "images": images,
        "value": own[0],
        "reference_value": reference[0],
        "difference": own[0] - reference[0],
        "low": float(low),
        "high": float(high),
        "p": min(1.0, 2 * (min(sides) + 1) / (len(difference_R) + 1)),
        "detectable": POWER * float(difference_R.std(ddof=1)),
        "matters": contrast.matters,
    }


def _number(
    measure: Measure, target_N: Ints, decided: Decided, classes: tuple[str, ...], weights: Floats | None
) -> Floats:
    """One number, and no other: the areas under curves take most of the time."""
    if measure == "accuracy":
        return metrics.weighted_mean(decided.named_N == target_N, weights)
    if measure == "mean_recall":
        counts = metrics.one_vs_rest(target_N, decided.named_N, len(classes), weights)
        return metrics.macro(counts.recall, counts.support)
    return numbers(target_N, decided, classes, weights)[measure,]


def _verdict(row: Mapping[Any, Any]) -> str:
    """What a contrast shows, in words that a table can hold."""
    if row["p_holm"] >= ALPHA or row["low"] <= 0 <= row["high"]:
        return "inconclusive"
    better = (row["difference"] > 0) != (row["measure"] == "log_loss")
    size = "" if abs(row["difference"]) >= row["matters"] else ", less than would matter"
    return f"{'gains' if better else 'loses'}{size}"
