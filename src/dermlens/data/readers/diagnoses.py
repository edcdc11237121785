"""Diagnoses as sources spell them, to the codes of the class list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dermlens.errors import UserError, nearest
from dermlens.labels import CLASSES

ISIC_NAMES = {
    "actinic keratosis": "akiec",
    "ak": "akiec",
    "basal cell carcinoma": "bcc",
    "dermatofibroma": "df",
    "lichenoid keratosis": "bkl",
    "melanoma": "mel",
    "nevus": "nv",
    "pigmented benign keratosis": "bkl",
    "seborrheic keratosis": "bkl",
    "solar lentigo": "bkl",
    "vascular lesion": "vasc",
}
"""The ISIC archive's names, lower-case, by the grouping of HAM10000 (Tschandl et al. 2018, table 1)."""


def classes_of(classes: Sequence[str] | None, labels: Mapping[str, str] | None) -> tuple[str, ...]:
    """The class list: as given; else the seven or, where a label map leads outside them, its targets.

    Raises:
        UserError: the label map leads to a class that the given list lacks.
    """
    if classes is None:
        outside = set((labels or {}).values()) - set(CLASSES)
        classes = sorted(set((labels or {}).values())) if outside else CLASSES
    for source, target in (labels or {}).items():
        if target not in classes:
            raise UserError(
                f"label map: '{source}' leads to '{target}', which is no class{nearest(target, classes)}"
            )
    return tuple(classes)


def code_of(diagnosis: str, where: str, *, classes: Sequence[str], labels: Mapping[str, str] | None) -> str:
    """The class of a diagnosis: by the label map, else the code in any case, else the ISIC archive's name.

    Args:
        diagnosis: as the source has it.
        where: file and row, for the sentence.
        classes: the codes that are valid.
        labels: codes by the source's diagnoses.

    Raises:
        UserError: it is none of these.
    """
    if not diagnosis:
        raise UserError(f"{where}: no diagnosis; every image needs one of {', '.join(classes)}")
    if labels and diagnosis in labels:
        return labels[diagnosis]
    lower = diagnosis.lower()
    for code in (diagnosis, lower, ISIC_NAMES.get(lower)):
        if code in classes:
            return str(code)
    raise UserError(
        f"{where}: diagnosis '{diagnosis}' is not known{nearest(lower, classes)}, "
        f"or a label map that says what it is ({diagnosis}=…)"
    )
