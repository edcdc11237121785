"""Answers as columns of a table: all of them in predictions.csv, some in what `dermlens predict` writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dermlens.decision.answer import Answers
from dermlens.metrics import Bools

ANSWERED = ("diagnosis", "confidence", "set", "ood", "abstain", "reason")
"""Beside the probabilities: a class code; a share; codes joined by `|`; a score, empty where the model has
none; yes or no; words, empty where it does not abstain."""

BETWEEN = "|"


def answer_columns(answers: Answers, classes: Sequence[str]) -> dict[str, list[Any]]:
    """A list a column of `ANSWERED`, one entry an image."""
    return {
        "diagnosis": [classes[index] for index in answers.diagnosis_N],
        "confidence": answers.confidence_N.tolist(),
        "set": [
            BETWEEN.join(code for code, inside in zip(classes, set_C, strict=True) if inside)
            for set_C in answers.set_NC
        ],
        "ood": answers.ood_N.tolist(),
        "abstain": ["yes" if abstains else "no" for abstains in answers.abstain_N],
        "reason": list(answers.reason_N),
    }


def sets_of(column: Sequence[str], classes: Sequence[str]) -> Bools:
    """The column `set` as numbers, set_NC."""
    named = [frozenset(cell.split(BETWEEN)) for cell in column]
    return np.array([[code in cell for code in classes] for cell in named]).reshape(-1, len(classes))
