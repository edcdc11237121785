"""The leak on purpose: two splits that differ in nothing but siblings."""

from __future__ import annotations

import pandas as pd
import pytest

from dermlens.data.config import SplitConfig
from dermlens.data.leak import check_disjoint, leak
from dermlens.data.manifest import Split
from dermlens.data.protocols import lesion_groups
from dermlens.data.split import resolve_split
from dermlens.errors import UserError

from .test_split import make_table, many


def split_of(table: pd.DataFrame, siblings: str | None) -> Split:
    return resolve_split(table, SplitConfig(folds=3, fold=1), siblings=siblings)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return many()


def per_class(split: Split, table: pd.DataFrame, role: str) -> dict[str, int]:
    return table[table["image_id"].isin(split.ids(role))]["dx"].value_counts().to_dict()


def test_both_score_one_image_of_each_of_the_folds_lesions(table):
    plain, withheld, trained_on = (split_of(table, way) for way in (None, "withheld", "trained_on"))
    assert withheld.ids("selection") == trained_on.ids("selection")
    groups = dict(zip(table["image_id"], lesion_groups(table), strict=True))
    of_fold = {groups[image] for image in plain.ids("selection")}
    scored = [groups[image] for image in withheld.ids("selection")]
    assert len(scored) == len(set(scored))
    assert set(scored) == of_fold
    assert withheld.ids("test") == trained_on.ids("test") == plain.ids("test")


def test_training_differs_in_siblings_alone(table):
    plain, withheld, trained_on = (split_of(table, way) for way in (None, "withheld", "trained_on"))
    assert withheld.ids("train") == plain.ids("train")
    assert per_class(withheld, table, "train") == per_class(trained_on, table, "train")
    put_in = set(trained_on.ids("train")) - set(plain.ids("train"))
    assert put_in == set(plain.ids("selection")) - set(withheld.ids("selection"))


def test_the_leak_is_what_the_names_say(table):
    withheld, trained_on = (split_of(table, way) for way in ("withheld", "trained_on"))
    assert check_disjoint(withheld, table, withheld.protocol) == []
    assert leak(withheld, table).siblings == 0
    # every scored lesion that has siblings has one in training
    sizes = table["lesion_id"].value_counts()
    scored = table[table["image_id"].isin(trained_on.ids("selection"))]
    assert leak(trained_on, table).siblings == (scored["lesion_id"].map(sizes) > 1).sum()
    [warning] = check_disjoint(trained_on, table, trained_on.protocol)
    assert "more than one role" in warning


def test_without_folds_it_is_of_the_selection_role(table):
    split = resolve_split(table, SplitConfig(), siblings="withheld")
    scored = table[table["image_id"].isin(split.ids("selection"))]
    assert not scored["lesion_id"].duplicated().any()


def test_a_class_that_cannot_make_room_is_named():
    table = make_table([*[("mel", 1)] * 8, ("mel", 40), *[("nv", 1)] * 9])
    fold = next(
        number
        for number in range(3)
        if len(resolve_split(table, SplitConfig(folds=3, fold=number, test=0.0)).ids("selection")) > 40
    )
    with pytest.raises(UserError, match=r"39 images of mel.*6"):
        resolve_split(table, SplitConfig(folds=3, fold=fold, test=0.0), siblings="trained_on")
