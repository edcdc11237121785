"""The probe finds a source that is in the features, and chance where it is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermlens.data.manifest import HOME, load_manifest
from dermlens.errors import UserError
from dermlens.studies.source_probe import probe_lesions, probe_source


def features(shift: float, *, images: int = 2, lesions: int = 120, seed: int = 0):
    """Of two sources that differ by `shift` in one direction; each lesion has a look of its own."""
    rng = np.random.default_rng(seed)
    group_N = np.repeat([f"L{n:03d}" for n in range(2 * lesions)], images)
    source_N = np.repeat(np.array(["a", "b"]), lesions * images)
    look_N8 = np.repeat(rng.normal(size=(2 * lesions, 8)), images, axis=0)
    x_N8 = look_N8 + 0.01 * rng.normal(size=look_N8.shape)
    x_N8[:, 0] += shift * (source_N == "b")
    return x_N8, source_N, group_N


def accuracy(shift: float, **options) -> float:
    x_N8, source_N, group_N = features(shift, **options)
    return float((probe_source(x_N8, source_N, group_N) == source_N).mean())


def test_a_source_that_stands_in_the_features_is_found():
    assert accuracy(10.0) > 0.98


def test_where_it_does_not_the_probe_has_chance():
    """Also where each lesion has six images, by which it could be known again: folds keep lesions apart."""
    assert accuracy(0.0) == pytest.approx(0.5, abs=0.1)
    assert accuracy(0.0, images=6) == pytest.approx(0.5, abs=0.1)


def table(**nevi: int) -> pd.DataFrame:
    rows = [
        {"image_id": f"{source}{n}_{i}", "lesion_id": f"{source}{n}", "dx": dx, "source": source}
        for source, count in nevi.items()
        for dx, number in (("nv", count), ("mel", 5))
        for n in range(number)
        for i in range(2)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(lesion_id=frame["lesion_id"] + frame["dx"], image_id=frame["image_id"] + frame["dx"])


def test_as_many_nevi_of_each_source_one_image_each_and_only_where_there_are_enough():
    drawn = probe_lesions(table(a=30, b=20, c=19), lesions=20)
    assert drawn["source"].value_counts().to_dict() == {"a": 20, "b": 20}
    assert set(drawn["dx"]) == {"nv"}
    assert drawn["group"].is_unique
    with pytest.raises(UserError, match=r"two sources of 25 nevi.*1"):
        probe_lesions(table(a=30, b=20), lesions=25)


def test_no_image_of_the_projects_test_role_is_looked_at():
    sealed = load_manifest(HOME).ids("test")[:25]
    rows = table(a=30, b=30)
    of_a = rows.index[(rows["source"] == "a") & (rows["dx"] == "nv")][: 2 * 25 : 2]
    rows.loc[of_a, "image_id"] = sealed
    drawn = probe_lesions(rows, lesions=30)
    assert not set(drawn["image_id"]) & set(sealed)
