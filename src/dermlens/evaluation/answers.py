"""What became of the images when the model could also give a set of diagnoses, or abstain.

Shapes: N images, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays, diagnoses
from dermlens.evaluation.intervals import Place, Resamples, estimate, mean_recall, nest, share
from dermlens.labels import Vocabulary
from dermlens.metrics import Bools, Floats, Ints
from dermlens.predict.decision import REASONS, sets_of


def answer_section(
    predictions: pd.DataFrame, vocabulary: Vocabulary, resamples: Resamples, *, level: float
) -> dict[str, Any]:
    """The part of metrics.json on sets and abstention.

    Args:
        predictions: of one role, answered.
        vocabulary: the classes, in the order of the probabilities.
        resamples: draws of its lesions.
        level: of the intervals.

    Returns:
        `answered`, `accuracy_answered`, `mean_recall_answered`, `set_size`; for each class `coverage`,
        `set_size`, `abstained` and `recall_answered`; `reasons`, how many images each holds for; and
        `melanomas`, or `malignant` where own classes are, counted by what became of them.
    """
    classes = vocabulary.classes
    target_N, _ = arrays(predictions, classes)
    diagnosis_N = diagnoses(predictions, classes)
    assert diagnosis_N is not None  # the table is answered
    set_NC = sets_of(predictions["set"].tolist(), classes)
    abstain_N = (predictions["uncertain"] == "yes").to_numpy()

    def numbers(weights: Floats | None) -> dict[Place, Floats]:
        return answer_numbers(target_N, diagnosis_N, set_NC, abstain_N, classes, weights)

    estimates = estimate(numbers, resamples, level=level)
    if len(resamples.counts):
        covered_N = set_NC[np.arange(len(target_N)), target_N]
        for index, code in enumerate(classes):
            of_class = target_N == index
            shares = {"coverage": (of_class, covered_N), "abstained": (of_class, abstain_N)}
            shares["recall_answered"] = (of_class & ~abstain_N, diagnosis_N == index)
            for name, (rows, yes_N) in shares.items():
                estimates["per_class", code, name] = share(yes_N[rows], resamples.lesion[rows], level=level)
        estimates["mean_recall_answered",] = mean_recall(
            target_N, diagnosis_N, len(classes), resamples, level=level, inside_N=~abstain_N
        )
    section = nest(estimates)
    listed = [set(cell.split("; ")) for cell in predictions["reason"]]
    section["reasons"] = {word: sum(word in words for words in listed) for word in REASONS}
    if vocabulary.sought_group:
        found = fate(target_N, diagnosis_N, set_NC, abstain_N, vocabulary)
        section["melanomas" if vocabulary.sought_group == "melanoma" else "malignant"] = found
    return section


def answer_numbers(
    target_N: Ints,
    diagnosis_N: Ints,
    set_NC: Bools,
    abstain_N: Bools,
    classes: tuple[str, ...],
    weights: Floats | None,
) -> dict[Place, Floats]:
    """Every share and mean of `answer_section`, each (...)."""
    w = np.ones(len(target_N)) if weights is None else weights
    covered_N = set_NC[np.arange(len(target_N)), target_N]
    size_N = set_NC.sum(axis=1)
    kept = metrics.one_vs_rest(target_N, diagnosis_N, len(classes), w * ~abstain_N)
    found: dict[Place, Floats] = {
        ("answered",): metrics.weighted_mean(~abstain_N, w),
        ("accuracy_answered",): metrics.weighted_mean(diagnosis_N == target_N, w * ~abstain_N),
        ("mean_recall_answered",): metrics.macro(kept.recall, kept.support),
        ("coverage",): metrics.weighted_mean(covered_N, w),
        ("set_size",): metrics.weighted_mean(size_N, w),
    }
    for index, code in enumerate(classes):
        of_class = w * (target_N == index)
        found |= {
            ("per_class", code, "coverage"): metrics.weighted_mean(covered_N, of_class),
            ("per_class", code, "set_size"): metrics.weighted_mean(size_N, of_class),
            ("per_class", code, "abstained"): metrics.weighted_mean(abstain_N, of_class),
            ("per_class", code, "recall_answered"): kept.recall[..., index],
        }
    return found


def fate(
    target_N: Ints, diagnosis_N: Ints, set_NC: Bools, abstain_N: Bools, vocabulary: Vocabulary
) -> dict[str, int]:
    """The images of the classes that are sought by what became of them; the last four sum to the first.

    Returns:
        `images`; `named`, for which any of these classes is named, whether or not the model abstains;
        `in_set`, not named but in the set; `abstained`, neither, but the model abstains; `missed`, none of
        these: an answer that does not mention them.
    """
    columns = [vocabulary.classes.index(code) for code in vocabulary.sought]
    of_class = np.isin(target_N, columns)
    named_N = of_class & np.isin(diagnosis_N, columns)
    in_set_N = of_class & ~named_N & set_NC[:, columns].any(axis=1)
    abstained_N = of_class & ~named_N & ~in_set_N & abstain_N
    counts = {"images": of_class, "named": named_N, "in_set": in_set_N, "abstained": abstained_N}
    found = {name: int(inside_N.sum()) for name, inside_N in counts.items()}
    return found | {"missed": found["images"] - found["named"] - found["in_set"] - found["abstained"]}
