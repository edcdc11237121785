"""Many images at once: every readable one is answered, the others are named."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dermlens.atomic import write_text
from dermlens.data.images import ImageError
from dermlens.decision.columns import BETWEEN
from dermlens.deploy.predictor import Answer, Predictor
from dermlens.deploy.requests import Patient
from dermlens.errors import UserError, nearest
from dermlens.labels import full_name
from dermlens.yaml_text import load_yaml


@dataclass
class Batch:
    """Answers to a request.

    Attributes:
        answers: by image id.
        unreadable: the sentence for each image that could not be decoded, by image id.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def answer_all(
    predictor: Predictor,
    images: Mapping[str, Path],
    patient_of: Callable[[str], Patient],
    prior: Sequence[float] | None = None,
) -> Batch:
    """Answer for each image by itself; one that cannot be decoded stops none of the others.

    Args:
        predictor: the model.
        images: files by image id.
        patient_of: what is known of an image's patient.
        prior: as `Predictor.predict` takes it.

    Raises:
        UserError: the prior does not fit the model.
    """
    batch = Batch()
    for image_id, path in images.items():
        who = patient_of(image_id)
        try:
            (batch.answers[image_id],) = predictor.predict(
                [path], [who.age], [who.sex], [who.site], prior=prior
            )
        except ImageError as error:
            batch.unreadable[image_id] = str(error)
    return batch


def parse_prior(text: str, classes: Sequence[str]) -> tuple[float, ...] | None:
    """Class shares from `natural`, `equal` or a mapping such as `{mel: 0.2, nv: 0.5, …}`.

    Returns:
        One number a class, in any unit; none for `natural`, the shares that the model was calibrated for.

    Raises:
        UserError: it is none of the three, or the mapping lacks a class, knows another, or has a share that
            is not a positive number.
    """
    if text in ("natural", "equal"):
        return None if text == "natural" else (1.0,) * len(classes)
    shares, _ = load_yaml(text, f"--prior {text}")
    if not isinstance(shares, dict):
        raise UserError(f"--prior {text}: it is natural, equal, or a mapping such as '{{mel: 0.2, nv: 0.8}}'")
    for code, share in shares.items():
        if code not in classes:
            raise UserError(f"--prior {text}: {code} is not a class{nearest(str(code), classes)}")
        if isinstance(share, int) and abs(share) > sys.float_info.max:
            raise UserError(f"--prior {text}: the share of {code} is too large; only their ratios count")
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < float("inf"):
            raise UserError(f"--prior {text}: the share of {code} is {share}; shares are positive numbers")
    if lacking := [code for code in classes if code not in shares]:
        raise UserError(f"--prior {text}: no share of {', '.join(lacking)}; every class needs one")
    return tuple(float(shares[code]) for code in classes)


def write_answers(path: Path, batch: Batch, classes: Sequence[str]) -> None:
    """Write one row an image, whole or not at all.

    Columns: image_id, diagnosis, p_<class> for each class in the order of the logits, set (codes joined
    by `|`), abstain (yes or no), reason: as `dermlens.decision.columns` has them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "diagnosis", *(f"p_{code}" for code in classes), "set", "abstain", "reason"])
    for image_id, one in batch.answers.items():
        p = [f"{one.p[code]:.9g}" for code in classes]
        abstains = "yes" if one.abstain else "no"
        writer.writerow([image_id, one.diagnosis, *p, BETWEEN.join(one.set), abstains, one.reason])
    write_text(path, text.getvalue())


def as_json(predictor: Predictor, batch: Batch, prior: Sequence[float] | None) -> dict[str, Any]:
    """Answers with what must stand beside them: the limits, and the class shares that they hold for."""
    return {
        "limits": list(predictor.limits),
        "prior": shares_of(predictor, prior),
        "answers": [
            {
                "image_id": image_id,
                "diagnosis": one.diagnosis,
                "name": full_name(one.diagnosis),
                "p": one.p,
                "set": list(one.set),
                "ood": one.ood,
                "abstain": one.abstain,
                "reason": one.reason,
            }
            for image_id, one in batch.answers.items()
        ],
        "unreadable": batch.unreadable,
    }


def shares_of(predictor: Predictor, prior: Sequence[float] | None) -> dict[str, float] | None:
    """The class shares that probabilities hold for, of sum 1; none where nobody knows."""
    stated = predictor.decision.prior if prior is None else prior
    if stated is None:
        return None
    parts = [share / max(stated) for share in stated]  # of which a sum cannot overflow
    return {code: part / sum(parts) for code, part in zip(predictor.classes, parts, strict=True)}
