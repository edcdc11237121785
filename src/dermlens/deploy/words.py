"""An answer as JSON and as a row: what the command line writes and the service sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dermlens.decision.columns import BETWEEN
from dermlens.deploy.answers import Answer
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.prior import shares_of
from dermlens.labels import full_name


def answer_json(one: Answer) -> dict[str, Any]:
    """An answer as a person is to read it: no probabilities for a picture that seems to be no dermoscopy."""
    return {
        "diagnosis": None if one.withheld else one.diagnosis,
        "name": None if one.withheld else one.name,
        "p": None if one.withheld else one.p,
        "set": None if one.withheld else list(one.set),
        "level": one.level,
        "ood": one.ood,
        "abstain": one.abstain,
        "reason": one.reason,
        "quality": list(one.faults),
        "model": one.model,
    }


def answer_row(one: Answer) -> dict[str, Any]:
    """An answer as a row for scoring: with every number, whatever the model would stand by.

    Columns: diagnosis, p_<class> for each class in the order of the logits, set (codes joined by `|`),
    abstain (yes or no), reason: as `dermlens.decision.columns` has them.
    """
    return {
        "diagnosis": one.diagnosis,
        **{f"p_{code}": float(f"{p:.9g}") for code, p in one.p.items()},
        "set": BETWEEN.join(one.set),
        "abstain": "yes" if one.abstain else "no",
        "reason": one.reason,
    }


def heading_json(predictor: Predictor, prior: Sequence[float] | None) -> dict[str, Any]:
    """What must stand beside answers: the model, its limits, and the class shares that they hold for."""
    return {
        "model": predictor.id,
        "classes": {code: full_name(code) for code in predictor.classes},
        "limits": list(predictor.limits),
        "prior": shares_of(predictor, prior),
    }
