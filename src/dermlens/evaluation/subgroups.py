"""The same scores among men and women, young and old, by place on the body, by source and by skin tone.

Shapes: N images, C classes, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermlens.evaluation.intervals import (
    Estimate,
    Place,
    Resamples,
    mean_recall,
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
