"""Does age, sex or site give the class away? Some tables know an age only where a lesion was cut out."""

from __future__ import annotations

import numpy as np
import pandas as pd

FEW = 20
"""Images below which nothing is measured."""
MOST = 0.5
"""Share of the uncertainty about the class that a field may take away. HAM10000's take 4 to 10 %."""


def telltales(table: pd.DataFrame) -> list[str]:
    """A sentence for each of age, sex and site that nearly gives the class away, or whose absence does.

    Measured is the uncertainty coefficient (Theil 1970): the mutual information of the field, in decades of
    age, and the class, as a share of the class's entropy. It is lowered by what chance would give (Miller
    1955).

    Args:
        table: a LesionTable.
    """
    if len(table) < FEW or table["dx"].nunique() < 2:
        return []
    fields = {
        "age": (table["age"] // 10).fillna(-1).astype(int).astype(str),
        "sex": table["sex"],
        "site": table["site"],
    }
    found = {name: uncertainty_coefficient(words, table["dx"]) for name, words in fields.items()}
    return [
        f"{name} nearly gives the class away: it takes {share:.0%} of the uncertainty about it, by what "
        "it says or by "
        "being missing; a network that is told it learns that, and not lesions"
        for name, share in found.items()
        if share > MOST
    ]


def uncertainty_coefficient(words: pd.Series[str], classes: pd.Series[str]) -> float:
    """How much of the class's entropy a word takes away, 0 … 1, less what chance gives."""
    counts_WC = pd.crosstab(words, classes).to_numpy(dtype=float)
    total = counts_WC.sum()
    p_WC = counts_WC / total
    p_W, p_C = p_WC.sum(axis=1), p_WC.sum(axis=0)
    filled = p_WC > 0
    information = float((p_WC[filled] * np.log(p_WC[filled] / np.outer(p_W, p_C)[filled])).sum())
    entropy = float(-(p_C * np.log(p_C)).sum())
    chance = (len(p_W) - 1) * (len(p_C) - 1) / (2 * total)
    return float(max(0.0, information - chance) / entropy)
