"""The seven diagnoses of HAM10000: codes, names, malignancy and the two orders in use.

Source: Tschandl, Rosendahl, Kittler 2018 (doi 10.1038/sdata.2018.161); ISIC 2018 challenge, task 3.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One diagnosis.

    Attributes:
        code: HAM10000's abbreviation, the name used in files, code, command line and API.
        name: the full name.
        malignant: whether the group is counted as malignant.
        in_situ: whether it lies between: actinic keratoses are precursors, Bowen's disease is a carcinoma
            in situ. Malignancy metrics are given with such a class on either side.
    """

    code: str
    name: str
    malignant: bool
    in_situ: bool = False


DIAGNOSES = (
    Diagnosis("akiec", "actinic keratosis or intraepithelial carcinoma", malignant=False, in_situ=True),
    Diagnosis("bcc", "basal cell carcinoma", malignant=True),
    Diagnosis("bkl", "benign keratosis-like lesion", malignant=False),
    Diagnosis("df", "dermatofibroma", malignant=False),
    Diagnosis("mel", "melanoma", malignant=True),
    Diagnosis("nv", "melanocytic nevus", malignant=False),
    Diagnosis("vasc", "vascular lesion", malignant=False),
)
BY_CODE = {diagnosis.code: diagnosis for diagnosis in DIAGNOSES}

CLASSES = tuple(BY_CODE)
"""Alphabetical, as the published code's label encoder has them: index 0 is akiec, 6 is vasc."""

ISIC_COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
"""The order of the ISIC 2018 task 3 ground-truth columns, which is not alphabetical."""


def full_name(code: str) -> str:
    """The diagnosis behind a code; a code from someone's own label list stands for itself."""
    return BY_CODE[code].name if code in BY_CODE else code
