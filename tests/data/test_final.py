"""The roles of a last fit: what chose between models trains too, and nothing that is held out is seen."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dermlens.data.config import SplitConfig
from dermlens.data.manifest import load_manifest
from dermlens.data.protocols import found_later
from dermlens.data.split import final_roles
from dermlens.errors import UserError


def test_selection_trains_and_what_is_held_out_stays_so():
    before = load_manifest("sources-v1")
    after = final_roles(before)
    assert after.role_names == ["train", "calibration", "test"]
    for role in ("calibration", "test"):
        assert after.ids(role) == before.ids(role)
    left_out = {*before.ids("train"), *before.ids("selection")} - set(after.ids("train"))
    groups = found_later()
    seen = {groups[image] for role in ("calibration", "test") for image in after.ids(role) if image in groups}
    assert left_out
    assert {groups[image] for image in left_out} <= seen
    assert not seen & {groups[image] for image in after.ids("train") if image in groups}
    assert after.header["final"] == "yes"


def test_it_needs_a_role_that_is_held_out_and_no_folds():
    held_out = load_manifest("sources-v1")
    trained = type(held_out)(held_out.roles.assign(role="train"), held_out.header)
    with pytest.raises(UserError, match=r"split\.final"):
        final_roles(trained)
    for other in ({"folds": 3}, {"left_out": "rosendahl"}):
        with pytest.raises(ValidationError, match="final"):
            SplitConfig(final=True, **other)
