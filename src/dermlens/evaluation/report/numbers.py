"""How the page and the card write numbers: few digits, an interval, a dash where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

NONE = "–"
ROLE_ORDER = ("test", "calibration", "selection")
"""The most trustworthy first: the headline role is the first of these that was scored."""


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many decimals; a dash for none, and for what is not finite."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{digits}f}".replace("-", "−")


def estimate(value: Mapping[str, float | None] | None, digits: int = 2) -> str:
    """An estimate with its interval, `0.73 [0.65–0.80]`; without one where there is none."""
    if value is None or value.get("value") is None:
        return NONE
    low, high = value.get("low"), value.get("high")
    said = number(value["value"], digits)
    if said == NONE or low is None or high is None:
        return said
    return f"{said} [{number(low, digits)}–{number(high, digits)}]"


def percent(share: float | None) -> str:
    """A share as whole percent, `< 1 %` where it is small but not nothing."""
    if share is None or not math.isfinite(share):
        return NONE
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def count(found: object) -> str | None:
    """A count of parameters, thousands apart, whether it stands alone or under `trainable`."""
    if isinstance(found, Mapping):
        found = found.get("trainable")
    return f"{found:,}" if isinstance(found, int) else None


def duration(seconds: float | None) -> str:
    """Seconds in the unit a person would use."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def in_role_order(roles: Iterable[str]) -> list[str]:
    """Scored roles, the headline one first; roles that are not of a split come last, in their own order."""
    return sorted(roles, key=lambda role: ROLE_ORDER.index(role) if role in ROLE_ORDER else len(ROLE_ORDER))
