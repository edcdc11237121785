"""Where in a picture an answer comes from, and what it owes to what is known of the patient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dermlens.deploy.answers import Answer
from dermlens.deploy.pictures import Picture
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.requests import Patient
from dermlens.deploy.words import answer_json

UNKNOWN = Patient()
FIELDS = ("age", "sex", "site")


def explained(predictor: Predictor, picture: Picture, patient: Patient) -> dict[str, Any]:
    """An answer, its maps, and the answers with one thing less known of the patient.

    Returns:
        `answer`; `evidence`, rows of numbers by class, what each position of the network's last map adds to
        the class's score, and `attention`, summed over heads, both over the part of the picture that `crop`
        names (none where the network has none, or the answer is withheld); `without`, the answer with age,
        sex, site or all of them (`metadata`) left out, for what is known; empty where the answer is withheld.
    """
    patient = picture.told(patient)
    known = [field for field in FIELDS if getattr(patient, field) != getattr(UNKNOWN, field)]
    answer = _of(predictor, picture, patient)
    fewer = {field: replace(patient, **{field: getattr(UNKNOWN, field)}) for field in known}
    if known:
        fewer["metadata"] = UNKNOWN
    if answer.withheld:
        fewer = {}
    maps: dict[str, Any] = {"evidence": None, "attention": None}
    found = None if answer.withheld else predictor.evidence(picture, patient)
    if found is not None:
        maps["evidence"] = {
            code: one_HW.round(5).tolist()
            for code, one_HW in zip(predictor.classes, found.evidence_CHW, strict=True)
        }
        if found.attention_KHW is not None:
            maps["attention"] = found.attention_KHW.sum(axis=0).round(5).tolist()
    return {
        "answer": answer_json(answer),
        "crop": predictor.document.crop,
        **maps,
        "without": {name: answer_json(_of(predictor, picture, one)) for name, one in fewer.items()},
    }


def _of(predictor: Predictor, picture: Picture, patient: Patient) -> Answer:
    """Of exactly this patient: what a DICOM header adds is known, or withheld, already."""
    (found,) = predictor.answers([picture.of_nobody()], [patient])
    return found
