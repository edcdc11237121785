from __future__ import annotations

import numpy as np
import pytest

from dermlens.data.predictions import arrays
from dermlens.evaluation.subgroups import ENOUGH, age_band, find_subgroups, subgroup_numbers, tone_group
from dermlens.metrics import predicted_classes


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "0–39"), (39.9, "0–39"), (40, "40–59"), (59, "40–59"), (60, "60+"), (120, "60+")],
)
def test_age_bands(age, band):
    assert age_band(age) == band


def test_missing_age_is_a_group_of_its_own():
    assert age_band(float("nan")) == age_band(None) == "unknown"


@pytest.mark.parametrize(
    ("tone", "group"),
    [(0, "0–2"), (1.0, "0–2"), (2, "0–2"), (3.0, "3"), (4, "4–5"), (5.0, "4–5"), (float("nan"), "unknown"),
     (None, "unknown")],
)  # fmt: skip
def test_groups_of_skin_tones(tone, group):
    assert tone_group(tone) == group


def kinds(table):
    return {group.kind for group in find_subgroups(table)}


def test_skin_tones_are_groups_where_any_is_known(make_predictions):
    table = make_predictions(6)
    assert kinds(table) == kinds(table.assign(skin_tone=np.nan)) == {"sex", "age", "site"}
    found = {
        group.name: group.inside.tolist()
        for group in find_subgroups(table.assign(skin_tone=[5.0, 0.0, 3.0, 2.0, np.nan, 4.0]))
        if group.kind == "skin_tone"
    }
    assert found == {
        "0–2": [False, True, False, True, False, False],
        "3": [False, False, True, False, False, False],
        "4–5": [True, False, False, False, False, True],
        "unknown": [False, False, False, False, True, False],
    }
    assert list(found) == ["0–2", "3", "4–5", "unknown"]


def test_sources_are_groups_where_there_are_several(make_predictions):
    table = make_predictions(4)
    assert "source" not in kinds(table.assign(source="here"))
    several = table.assign(source=["there", "unknown", "here", "there"])
    found = {g.name: g.inside.tolist() for g in find_subgroups(several) if g.kind == "source"}
    assert found == {
        "here": [False, False, True, False],
        "there": [True, False, False, True],
        "unknown": [False, True, False, False],
    }
    assert list(found) == ["here", "there", "unknown"]
    order = list(dict.fromkeys(g.kind for g in find_subgroups(several.assign(skin_tone=3.0))))
    assert order == ["sex", "age", "site", "source", "skin_tone"]


def test_groups_partition_the_images(make_predictions):
    table = make_predictions(300)
    groups = find_subgroups(table)
    for kind in ("sex", "age", "site"):
        inside = np.stack([group.inside for group in groups if group.kind == kind])
        assert (inside.sum(axis=0) == 1).all()
    assert [group.name for group in groups if group.kind == "sex"] == ["female", "male", "unknown"]


def test_both_vocabularies_of_sites_meet(make_predictions):
    table = make_predictions(4).assign(site=["face", "head/neck", "scalp", "somewhere"])
    found = {group.name: int(group.inside.sum()) for group in find_subgroups(table) if group.kind == "site"}
    assert found == {"head/neck": 3, "unknown": 1}


def test_recall_is_the_groups_own_and_needs_enough(make_predictions):
    """Recall within a group equals a plain count; classes under 20 images are left out, as is the mean."""
    classes = ("bkl", "mel", "nv")
    table = make_predictions(180, classes=classes, skill=1.0)
    table["sex"] = np.where(np.arange(180) < 3 * (ENOUGH - 1), "male", "female")  # 19 of each class
    target_N, p_NC = arrays(table, classes)
    groups = find_subgroups(table)
    numbers = subgroup_numbers(target_N, p_NC, classes, groups, None)
    female = (table["sex"] == "female").to_numpy()
    right = predicted_classes(p_NC) == target_N
    for index, code in enumerate(classes):
        expected = right[female & (target_N == index)].mean()
        assert numbers["subgroups", "sex", "female", "per_class_recall", code] == pytest.approx(expected)
        assert np.isnan(numbers["subgroups", "sex", "male", "per_class_recall", code])
    assert numbers["subgroups", "sex", "female", "accuracy"] == pytest.approx(right[female].mean())
    assert np.isfinite(numbers["subgroups", "sex", "male", "accuracy"])
    assert np.isfinite(numbers["subgroups", "sex", "female", "balanced_accuracy_isic"])
    assert np.isnan(numbers["subgroups", "sex", "male", "balanced_accuracy_isic"])
