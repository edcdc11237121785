"""Lesions with a single image, drawn outside the sealed role."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermlens.data.config import SplitConfig
from dermlens.data.split import resolve_split
from related.singletons import open_singletons

SEALED = SplitConfig(protocol="grouped", test=0.15)


@pytest.fixture
def table():
    """Two classes, 60 lesions with one image each and 20 with three."""
    lesions = [f"L{n:03}" for n in range(60)] + [f"L{n:03}" for n in range(60, 80) for _ in range(3)]
    images = [f"I{n:03}" for n in range(len(lesions))]
    dx = ["mel" if int(lesion[1:]) % 4 == 0 else "nv" for lesion in lesions]
    frame = pd.DataFrame({"image_id": images, "lesion_id": lesions, "dx": dx, "age": 50.0, "sex": "male"})
    return frame.assign(site="back", path="none", dx_type="histo", source="one")


def test_the_sealed_role_stays_and_what_is_scored_is_single(table):
    split = open_singletons(table, SEALED)
    test = set(resolve_split(table, SEALED).ids("test"))
    assert set(split.ids("test")) == test
    free = table[~table["image_id"].isin(test)]
    images = free.groupby("lesion_id")["image_id"].size()
    scored = free[free["image_id"].isin(split.ids("selection"))]
    assert (images[scored["lesion_id"]] == 1).all()
    assert len(scored) == np.ceil(0.15 * (images == 1).sum())
    trained = set(free.loc[free["image_id"].isin(split.ids("train")), "lesion_id"])
    assert not trained & set(scored["lesion_id"])
    assert len(split.roles) == len(table)


def test_another_order_of_the_rows_gives_the_same_manifest(table):
    again = table.sample(frac=1, random_state=1)
    assert open_singletons(again, SEALED).text() == open_singletons(table, SEALED).text()
