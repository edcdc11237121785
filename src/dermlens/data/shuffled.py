"""A placebo of metadata: every lesion gets the age, sex and site of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

FIELDS = ("age", "sex", "site")


def shuffled_metadata(table: pd.DataFrame, seed: int, fields: Sequence[str] = FIELDS) -> pd.DataFrame:
    """A table whose lesions have changed patients among each other.

    What is said of patients stays as common as it was, and has nothing to do with their lesions any more. All
    images of a lesion get the same, and no lesion keeps its own.

    Args:
        table: a LesionTable of two lesions or more.
        seed: of the draw.
        fields: what is exchanged, together; the rest stays.

    Returns:
        A copy; `table` stays as it is.
    """
    first = table.drop_duplicates("lesion_id")
    order_L = np.random.default_rng(seed).permutation(len(first))
    giver_L = np.empty_like(order_L)
    giver_L[order_L] = np.roll(order_L, 1)
    given = first.iloc[giver_L][list(fields)].set_axis(first["lesion_id"])
    return table.assign(**{name: given.loc[table["lesion_id"], name].to_numpy() for name in fields})
