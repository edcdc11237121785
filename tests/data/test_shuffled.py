"""Metadata that change places between lesions, and nothing else does."""

from __future__ import annotations

from collections import Counter

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from dermlens.data.split import FIELDS, shuffled_metadata


@st.composite
def tables(draw) -> pd.DataFrame:
    """Lesions of one to three images, each lesion of one patient."""
    rows = []
    for lesion in range(draw(st.integers(2, 12))):
        patient = (
            float(lesion),
            draw(st.sampled_from(["female", "male"])),
            draw(st.sampled_from(["back", "face"])),
        )
        for image in range(draw(st.integers(1, 3))):
            rows.append((f"i{lesion}-{image}", f"l{lesion}", "nv", *patient))
    return pd.DataFrame(rows, columns=["image_id", "lesion_id", "dx", *FIELDS])


def patients(table: pd.DataFrame) -> dict[str, set[tuple]]:
    return {
        str(lesion): set(rows[list(FIELDS)].itertuples(index=False, name=None))
        for lesion, rows in table.groupby("lesion_id")
    }


@given(table=tables(), seed=st.integers(0, 99))
def test_patients_change_places(table, seed):
    shuffled = shuffled_metadata(table, seed)
    before, after = patients(table), patients(shuffled)
    assert all(len(found) == 1 for found in after.values())
    assert Counter(map(str, after.values())) == Counter(map(str, before.values()))
    assert all(after[lesion] != before[lesion] for lesion in before)  # ages are all different
    rest = ["image_id", "lesion_id", "dx"]
    pd.testing.assert_frame_equal(shuffled[rest], table[rest])
    pd.testing.assert_frame_equal(shuffled_metadata(table, seed), shuffled)


@given(table=tables(), field=st.sampled_from(FIELDS))
def test_only_what_is_named_changes(table, field):
    others = [name for name in table.columns if name != field]
    pd.testing.assert_frame_equal(shuffled_metadata(table, 0, (field,))[others], table[others])
