"""Diagnoses of a source, to the codes of the class list."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from dermlens.data.account import Account
from dermlens.data.diagnosis_names import class_of, is_diagnosis
from dermlens.data.problems import Problems, option
from dermlens.data.vocabulary import is_missing, plain
from dermlens.errors import UserError, nearest
from dermlens.labels import CLASSES

BINARY = ("benign", "malignant")
"""The two classes of ISIC 2016, and of tables and folders that say no more."""
NO_DIAGNOSIS = "unknown"
"""How an empty diagnosis is named in a label map."""


def classes_of(classes: Sequence[str] | None, labels: Mapping[str, str] | None) -> tuple[str, ...]:
    """The class list: as given; else the seven or, where a label map leads outside them, its targets.

    Raises:
        UserError: the label map leads to a class that the given list lacks.
    """
    targets = {target for target in (labels or {}).values() if target}
    if classes is None:
        classes = sorted(targets) if targets - set(CLASSES) else CLASSES
    for source, target in (labels or {}).items():
        if target and target not in classes:
            raise UserError(
                f"label map: '{source}' leads to '{target}', which is no class{nearest(target, classes)}"
            )
    return tuple(classes)


def is_binary(words: Iterable[str]) -> bool:
    """Whether a source says benign or malignant and no more."""
    said = {plain(word) for word in words if word}
    return bool(said) and said <= set(BINARY)


class Diagnoses:
    """Reads the diagnoses of a source.

    Args:
        classes: the codes that are valid.
        labels: codes by the source's diagnoses; an empty one leaves the images out, `unknown` stands for no
            diagnosis.
        account: takes what was read as another word, and what was left out.
        problems: takes what is no diagnosis.
    """

    def __init__(
        self, classes: Sequence[str], labels: Mapping[str, str], account: Account, problems: Problems
    ) -> None:
        self._classes, self._labels = classes, labels
        self._account, self._problems = account, problems
        self._plain_labels = {plain(word): code for word, code in labels.items()}

    def code_of(self, word: str, further: Sequence[str], where: str) -> str | None:
        """The class of a diagnosis: by the label map, else by its name, else by what further columns say.

        Returns:
            None for an image that is left out; empty where the diagnosis is a problem.
        """
        said = [unicodedata.normalize("NFC", one) for one in (word, *further) if one]
        if not said:
            if NO_DIAGNOSIS in self._labels:
                return self._taken("", self._labels[NO_DIAGNOSIS])
            self._problems.add(
                f"no diagnosis; every image needs one of {', '.join(self._classes)}",
                where,
                option("--label", NO_DIAGNOSIS, ""),
            )
            return ""
        for one in said:
            code = self._of(one)
            if code is not None:
                return self._taken(one, code)
        outside = next((one for one in said if is_diagnosis(one) or is_missing(one)), None)
        if outside is not None:
            return self._taken(outside, "")
        close = nearest(plain(said[0]), self._classes)
        self._problems.add(
            f"diagnosis '{said[0]}' is not known{close}, or a label map that says what it is, or leaves "
            "it out",
            where,
            option(
                "--label",
                said[0],
                close.removeprefix("; nearest: ").split(", ")[0] if "nearest" in close else "",
            ),
        )
        return ""

    def _of(self, word: str) -> str | None:
        """The class of a word; empty where the label map drops it."""
        if word in self._labels:
            return self._labels[word]
        if plain(word) in self._plain_labels:
            return self._plain_labels[plain(word)]
        return class_of(word, self._classes)

    def _taken(self, word: str, code: str) -> str | None:
        if not code:
            self._account.left_out[word or NO_DIAGNOSIS] += 1
            return None
        if plain(word) != plain(code):
            self._account.map("dx", word or NO_DIAGNOSIS, code)
        return code
