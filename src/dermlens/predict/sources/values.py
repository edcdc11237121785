"""Words of age, sex and site in a table, by the vocabulary and by somebody's own map.

The one reader of them, for training and for prediction.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from dermlens.errors import UserError, nearest
from dermlens.predict.sources.tables import Problems, option
from dermlens.predict.sources.vocabulary import (
    GROUP_OF_SITE,
    OLDEST,
    age_of,
    is_date,
    is_missing,
    is_number,
    plain,
    sexes_of,
    site_of,
)

FIELDS = ("age", "sex", "site")
SEXES = ("female", "male", "unknown")
DARKEST, LIGHTEST = 0, 5
"""Ends of the classes of skin tone, as MILK10k grades it."""

ValueMap = Mapping[str, str | Sequence[str]]
"""The source's word, or several, by `<field>.<ours>`: `{"sex.male": "h", "site.back": ["Kreuz", "LWS"]}`."""


def read_value_map(values: ValueMap | None) -> dict[str, dict[str, str]]:
    """Our word by the source's plain one, for each field.

    Raises:
        UserError: a key is not of the form `<field>.<ours>`, or ours is no age, sex or site.
    """
    maps: dict[str, dict[str, str]] = {field: {} for field in FIELDS}
    for key, theirs in (values or {}).items():
        field, _, ours = key.partition(".")
        if field not in FIELDS or not ours:
            raise UserError(
                f"value map: '{key}' should read FIELD.OURS, such as sex.male; fields: {', '.join(FIELDS)}"
            )
        known: Iterable[str] = SEXES if field == "sex" else GROUP_OF_SITE
        if field == "age":
            age = age_of(ours)
            if age is None or not (math.isnan(age) or 0 <= age <= OLDEST):
                raise UserError(f"value map: '{key}': an age is 0 to {OLDEST} years, or unknown")
        elif ours not in known:
            raise UserError(f"value map: '{key}' is none of ours{nearest(ours, known)}")
        for word in [theirs] if isinstance(theirs, str) else theirs:
            maps[field][plain(unicodedata.normalize("NFC", word))] = ours
    return maps


class Tally(Protocol):
    """Takes what was made of words."""

    def map(self, name: str, theirs: str, ours: str) -> None:
        """Count a word that was read as another one."""

    def drop(self, name: str, theirs: str) -> None:
        """Count a word that counts as missing."""


class Values:
    """Reads words of age, sex, site and skin tone, and counts what is read as another word or dropped.

    Args:
        values: the source's words by ours; `unknown` is ours for what shall count as missing.
        tally: takes what was mapped and dropped.
        problems: takes words that are no age and no sex.

    Raises:
        UserError: a key is not of the form `<field>.<ours>`, or ours is no age, sex or site.
    """

    def __init__(self, values: ValueMap | None, tally: Tally, problems: Problems) -> None:
        self._tally, self._problems = tally, problems
        self._maps = read_value_map(values)

    def ages(self, words: Sequence[str], where: Sequence[str]) -> list[float]:
        """Years, NaN where missing."""
        return [self._age(word, row) for word, row in zip(words, where, strict=True)]

    def sexes(self, words: Sequence[str], where: Sequence[str]) -> list[str]:
        """female, male or unknown."""
        own = self._maps["sex"]
        found = sexes_of({word for word in words if plain(word) not in own})
        found |= {word: own[plain(word)] for word in words if plain(word) in own}
        return [self._sex(word, found[word], row) for word, row in zip(words, where, strict=True)]

    def sites(self, words: Sequence[str]) -> list[str]:
        """The vocabulary's word, `unknown` where missing or not understood."""
        found = {word: self._maps["site"].get(plain(word), site_of(word)) for word in set(words)}
        return [self._counted("site", word, found[word]) for word in words]

    def skin_tones(self, words: Sequence[str]) -> list[float]:
        """Whole numbers, 0 (darkest) to 5 (lightest), NaN where missing or outside."""
        return [self._skin_tone(word) for word in words]

    def _skin_tone(self, word: str) -> float:
        if is_missing(word):
            return math.nan
        if not re.fullmatch(rf"[{DARKEST}-{LIGHTEST}](?:\.0*)?", word.strip()):
            self._tally.drop("skin_tone", word)
            return math.nan
        return float(word)

    def _age(self, word: str, where: str) -> float:
        cell = self._maps["age"].get(plain(word), word)
        age = age_of(cell)
        problem = None
        if is_date(cell) and (age is None or age > OLDEST):
            self._problems.add(
                f"age is '{word}', a date; ages are numbers of years on the day of the photograph, and a"
                " date of birth"
                " is not read",
                where,
                "--column age=",
                kind="age is a date",
            )
            return math.nan
        if age is None or (math.isinf(age) and not is_number(cell)):
            problem = f"age is '{word}'; ages are numbers of years, empty where unknown"
        elif not math.isnan(age) and not 0 <= age <= OLDEST:
            problem = f"age is {word}; ages are 0 to {OLDEST} years, empty where unknown"
        if problem is not None:
            self._problems.add(problem, where, option("--value", "age.unknown", word))
            return math.nan
        assert age is not None
        if cell != word and math.isnan(age):
            self._tally.drop("age", word)
        elif cell != word or not (is_number(word) or is_missing(word)):
            self._tally.map("age", word, f"{age:g}")
        return age

    def _sex(self, word: str, sex: str | None, where: str) -> str:
        if sex is None:
            letters = {"m": "female", "h": "male", "v": "male"}
            ours = letters.get(plain(word), "unknown")
            self._problems.add(
                f"sex is '{word}'; it is female or male, empty where unknown",
                where,
                option("--value", f"sex.{ours}", word),
            )
        return self._counted("sex", word, sex)

    def _counted(self, name: str, word: str, ours: str | None) -> str:
        if ours in (None, "unknown"):
            if not is_missing(word):
                self._tally.drop(name, word)
            return "unknown"
        if plain(word) != ours:
            self._tally.map(name, word, str(ours))
        return str(ours)
