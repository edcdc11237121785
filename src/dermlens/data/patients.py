"""What tables and people say of a patient: the words for age, sex and a missing value."""

from __future__ import annotations

import math
import re

from dermlens.data.metadata import OLDEST
from dermlens.errors import UserError

SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
MISSING = ("", "unknown", "na", "n/a", "nan", "none", "null", "<na>", "not reported")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf", re.ASCII | re.IGNORECASE)
"""As tables write them: Python's own reader also takes 1_0, and the digits of any script."""


def age_of(said: str, where: str) -> float:
    """Years, NaN where missing. Raises: UserError when it is no age; `where` names the row or option."""
    if said.lower() in MISSING:
        return math.nan
    if not NUMBER.fullmatch(said):
        raise UserError(f"{where}: age is '{said}'; ages are numbers of years, empty where unknown")
    age = float(said)
    if not 0 <= age <= OLDEST:
        raise UserError(f"{where}: age is {said}; ages are 0 to {OLDEST} years, empty where unknown")
    return age


def sex_of(said: str, where: str) -> str:
    """Female, male or unknown. Raises: UserError when it is another word."""
    lower = said.lower()
    if lower in MISSING:
        return "unknown"
    if lower not in SEXES:
        raise UserError(f"{where}: sex is '{said}'; it is female or male, empty where unknown")
    return SEXES[lower]


def or_unknown(said: str) -> str:
    """The word itself, or `unknown` where it says that there is none."""
    return "unknown" if said.lower() in MISSING else said
