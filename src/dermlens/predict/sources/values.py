"""Somebody's own words of age, sex and site, by ours."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from dermlens.errors import UserError, nearest
from dermlens.predict.sources.vocabulary import GROUP_OF_SITE, OLDEST, age_of, plain

FIELDS = ("age", "sex", "site")
SEXES = ("female", "male", "unknown")

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
