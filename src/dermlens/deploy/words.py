"""An answer as JSON and as a row: what the command line writes and the service sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dermlens.decision.columns import BETWEEN
from dermlens.deploy.answers import Answer
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.prior import shares_of


def answer_json(one: Answer) -> dict[str, Any]:
    """An answer; `diagnosis`, `name`, `p` and `set` are null where it is withheld."""
    return {
        "diagnosis": one.diagnosis,
        "name": one.name,
        "p": one.p,
        "set": None if one.set is None else list(one.set),
        "level": one.level,
        "ood": one.ood,
        "dermoscopy": one.dermoscopy,
        "abstain": one.abstain,
        "reason": one.reason,
        "quality": list(one.faults),
        "model": one.model,
    }


def answer_row(one: Answer, classes: Sequence[str]) -> dict[str, Any]:
    """An answer as a row of a table.

    Columns: diagnosis, p_<class> for each class in the order of the logits, set (codes joined by `|`),
    abstain (yes or no), reason: as `dermlens.decision.columns` has them. The first ones are none where the
    answer is withheld.
    """
    return {
        "diagnosis": one.diagnosis,
        **{f"p_{code}": None if one.p is None else float(f"{one.p[code]:.9g}") for code in classes},
        "set": None if one.set is None else BETWEEN.join(one.set),
        "abstain": "yes" if one.abstain else "no",
        "reason": one.reason,
    }


def heading_json(predictor: Predictor, prior: Sequence[float] | None) -> dict[str, Any]:
    """What must stand beside answers: the model, its limits, and the class shares that they hold for."""
    return {
        "model": predictor.id,
        "classes": {code: predictor.vocabulary.name(code) for code in predictor.classes},
        "malignant": list(predictor.vocabulary.malignant),
        "limits": list(predictor.limits),
        "prior": shares_of(predictor, prior),
    }
