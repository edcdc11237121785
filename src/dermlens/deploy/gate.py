"""Whether a smaller network may take the place of its original: paired, over lesions.

Both networks decide the same images, so a resample of lesions is scored for both and the differences are
what varies: far less than either score does.

Shapes: N images, C classes, `...` the leading axes of the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.evaluation.intervals import Numbers, draw_lesions, estimate
from dermlens.labels import Vocabulary
from dermlens.metrics import Floats, Ints, macro, one_vs_rest

MAY_LOSE = {"mean_recall": 0.01, "sought_recall": 0.02}
"""The most that recall may fall; the bound must hold with 95 % confidence, not the value alone."""
FEWEST = {"sought": 50, "other": 5}
"""Lesions of a class below which a bootstrap that finds no loss says nothing."""
ONE_SIDED = 0.90
"""Level of the two-sided interval whose upper end is the 95 % bound."""
REPLICATES = 2000


def compare(
    target_N: Ints,
    lesion_N: NDArray[Any],
    before_N: Ints,
    after_N: Ints,
    vocabulary: Vocabulary,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure what is lost, and say whether it may be.

    Args:
        target_N: class indices.
        lesion_N: any names of lesions.
        before_N: classes that the original's decision rule names.
        after_N: those of the smaller network's.
        vocabulary: their codes, and which of them are sought: `mel`, or the malignant own classes. Without
            any only the mean recall counts.
        replicates: resamples of lesions.
        seed: of the resampling.

    Returns:
        `accepted`; `why`, a sentence; `images`, `lesions`, `changed` (share of images that are named
        otherwise); and for mean recall and the recall of what is sought `before`, `after`, `lost`, and
        `lost_at_least` and `lost_at_most`, the 90 % interval of the loss, whose upper end is the bound.
    """
    classes = vocabulary.classes
    watched = ["mean_recall", *(f"{code}_recall" for code in vocabulary.sought)]

    def recalls(named_N: Ints, weights: Floats | None) -> dict[str, Floats]:
        counts = one_vs_rest(target_N, named_N, len(classes), weights)
        by_class = {f"{code}_recall": counts.recall[..., index] for index, code in enumerate(classes)}
        return {"mean_recall": macro(counts.recall, counts.support)} | by_class

    def lost(weights: Floats | None) -> Numbers:
        before, after = recalls(before_N, weights), recalls(after_N, weights)
        return {(name,): before[name] - after[name] for name in watched}

    resamples = draw_lesions(lesion_N, target_N, replicates=replicates, seed=seed)
    losses = estimate(lost, resamples, level=ONE_SIDED)
    before, after = recalls(before_N, None), recalls(after_N, None)
    found: dict[str, Any] = {}
    for name in watched:
        value, low, high = (losses[(name,)][key] for key in ("value", "low", "high"))
        if value is None:
            continue  # no image of the class
        found[name] = {
            "before": float(before[name]),
            "after": float(after[name]),
            "lost": value,
            "lost_at_least": value if low is None else low,
            "lost_at_most": value if high is None else high,
            "may_lose": MAY_LOSE["mean_recall" if name == "mean_recall" else "sought_recall"],
        }
    too_much = [
        f"{name.replace('_', ' ')} may fall by {100 * numbers['lost_at_most']:.1f} points"
        f" (measured {100 * numbers['lost']:.1f}), more than {100 * numbers['may_lose']:.0f}"
        for name, numbers in found.items()
        if not numbers["lost_at_most"] <= numbers["may_lose"]
    ]
    lesions_C = [len(np.unique(lesion_N[target_N == index])) for index in range(len(classes))]
    for code, count in zip(classes, lesions_C, strict=True):
        fewest = FEWEST["sought" if code in vocabulary.sought else "other"]
        if 0 < count < fewest:
            too_much.append(f"{count} lesions of {code} cannot show what is lost; {fewest} could")
    if lacking := [name for name in watched if name not in found]:
        too_much.append(f"no image to measure {lacking[0].replace('_', ' ')} on")
    return {
        "accepted": not too_much,
        "why": "; ".join(too_much) or "the loss is within bounds with 95 % confidence",
        "images": len(target_N),
        "lesions": len(np.unique(lesion_N)),
        "melanoma_lesions": lesions_C[list(classes).index("mel")] if "mel" in classes else None,
        "changed": float(np.mean(before_N != after_N)),
        **found,
    }
