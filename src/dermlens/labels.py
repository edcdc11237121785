"""The seven diagnoses of HAM10000: codes, names, malignancy and the two orders in use.

Source: Tschandl, Rosendahl, Kittler 2018 (doi 10.1038/sdata.2018.161); ISIC 2018 challenge, task 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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


class Vocabulary:
    """The classes of a model, what they are called, and which of them are malignant.

    What someone's own code means is not known here unless a recipe says so (`data.classes`); a code without
    a description stands for itself and counts as not malignant. A description takes the place of ours.
    """

    def __init__(
        self, classes: Sequence[str], described: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Make one.

        Args:
            classes: the codes, in the order of the logits.
            described: `name` and `malignant` of own codes, as recipes, model.json and metrics.json have them.
        """
        self.classes = tuple(classes)
        self.described = {code: dict(facts) for code, facts in (described or {}).items()}
        self._known = {code: self._diagnosis(code) for code in self.classes}

    def _diagnosis(self, code: str) -> Diagnosis:
        if code in self.described:
            facts = self.described[code]
            name = facts.get("name") or (BY_CODE[code].name if code in BY_CODE else code)
            malignant = bool(facts.get("malignant"))
            between = code in BY_CODE and BY_CODE[code].in_situ and not malignant
            return Diagnosis(code, name, malignant=malignant, in_situ=between)
        return BY_CODE.get(code, Diagnosis(code, code, malignant=False))

    def name(self, code: str) -> str:
        """The diagnosis behind a code."""
        return self._known[code].name if code in self._known else full_name(code)

    @property
    def explained(self) -> bool:
        """Whether it is known of every class whether it is malignant."""
        return all(code in BY_CODE or code in self.described for code in self.classes)

    @property
    def malignant(self) -> tuple[str, ...]:
        """The malignant classes that are known of."""
        return tuple(code for code in self.classes if self._known[code].malignant)

    @property
    def premalignant(self) -> tuple[str, ...]:
        """The classes that lie between: precursors and carcinomas in situ."""
        return tuple(code for code in self.classes if self._known[code].in_situ)

    def kind(self, code: str) -> str:
        """Malignant or pre-malignant; empty for what is known to be neither, or not known."""
        found = self._known.get(code)
        return (
            ""
            if found is None
            else "malignant"
            if found.malignant
            else "pre-malignant"
            if found.in_situ
            else ""
        )

    @property
    def sought(self) -> tuple[str, ...]:
        """The classes whose misses are counted one by one: melanoma, or else the malignant own ones."""
        if "mel" in self.classes:
            return ("mel",)
        return tuple(code for code in self.malignant if code in self.described)

    @property
    def sought_name(self) -> str:
        """What `sought` is called: melanoma, the one class's name, or malignant."""
        if len(self.sought) == 1:
            return self.name(self.sought[0])
        return "malignant"

    @property
    def sought_group(self) -> str | None:
        """Under which name `sought` is a group in metrics.json; none where nothing is sought."""
        if not self.sought:
            return None
        return "melanoma" if self.sought == ("mel",) else "malignant"


def full_name(code: str) -> str:
    """The diagnosis behind a code; a code from someone's own label list stands for itself."""
    return BY_CODE[code].name if code in BY_CODE else code
