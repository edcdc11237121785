"""How many scored images of the paper's split have another image of their lesion in training."""

from __future__ import annotations

import pandas as pd

from dermlens.data.config import SplitConfig
from dermlens.data.split import make_split

SIBLINGS = "siblings.csv"
"""What is published of it, for the report."""


def count_siblings(table: pd.DataFrame) -> pd.DataFrame:
    """Scored images of the paper's split by class, and whether another image of the lesion is trained on.

    Args:
        table: of HAM10000.

    Returns:
        Columns `dx`, `sibling` and `images`.
    """
    roles = make_split(table, SplitConfig(protocol="paper")).roles.merge(
        table[["image_id", "dx"]], on="image_id"
    )
    trained = set(roles.loc[roles["role"] == "train", "lesion_id"])
    scored = roles[roles["role"] == "selection"]
    known = scored.assign(sibling=scored["lesion_id"].isin(trained))
    return known.groupby(["dx", "sibling"]).size().rename("images").reset_index()
