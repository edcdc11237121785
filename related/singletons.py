"""Lesions with a single image, as the paper's reference [14] tests on, drawn outside the sealed test role.

Datta et al. 2021 (arXiv 2105.03358) test on 15 % of the lesions that have one image, and train on all else:
no lesion id is on both sides, and nevi are 80 % of what is tested on. Their draw takes in images of the test
role of `grouped-v1`, which no study may look at; this one leaves them out, so it is smaller than their 828.
"""

from __future__ import annotations

import pandas as pd

from dermlens.data.config import SplitConfig
from dermlens.data.manifest import VERSION, Split, make_roles
from dermlens.data.protocols import draw_singletons
from dermlens.data.split import resolve_split
from dermlens.data.table import table_sha256

HOLDOUT, SEED = 0.15, 0


def open_singletons(table: pd.DataFrame, sealed: SplitConfig) -> Split:
    """Role by image: train, selection for the singletons that are scored, and test as it is sealed.

    Args:
        table: a LesionTable.
        sealed: whose test role stays closed.
    """
    test = set(resolve_split(table, sealed).ids("test"))
    drawn = draw_singletons(table[~table["image_id"].isin(test)], HOLDOUT, SEED)
    roles = {image: "train" if role == "train" else "selection" for image, role in drawn.items()}
    header = {
        "manifest": VERSION,
        "protocol": "singletons",
        "seed": str(SEED),
        "fractions": f"selection={HOLDOUT}",
        "table-sha256": table_sha256(table),
    }
    return Split(make_roles(table, roles | dict.fromkeys(test, "test")), header)
