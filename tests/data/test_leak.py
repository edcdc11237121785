"""A leak is counted as by hand; what crosses roles is refused under `grouped` and reported elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.data.leak import check_disjoint, leak
from dermlens.data.manifest import Split
from dermlens.errors import UserError


def case(rows: list[tuple[str, str, str]], folder: Path = Path("absent")) -> tuple[Split, pd.DataFrame]:
    """A split and its table from (lesion, class, role) per image; images are named I00, I01, …"""
    lesion, dx, role = (list(column) for column in zip(*rows, strict=True))
    image = [f"I{number:02d}" for number in range(len(rows))]
    table = pd.DataFrame({"image_id": image, "lesion_id": lesion, "dx": dx})
    table["path"] = [str(folder / f"{name}.jpg") for name in image]
    return Split(table[["image_id", "lesion_id"]].assign(role=role), {}), table


def test_leak_by_hand() -> None:
    split, table = case(
        [
            ("a", "mel", "train"),
            ("a", "mel", "selection"),  # leaks
            ("a", "mel", "test"),  # leaks
            ("b", "mel", "selection"),  # a sibling, but not in training
            ("b", "mel", "test"),
            ("c", "nv", "test"),
            ("d", "nv", "train"),
            ("d", "nv", "train"),
        ]
    )
    found = leak(split, table)
    assert (found.images, found.siblings, found.overall) == (5, 2, 0.4)
    assert found.by_class == {"mel": 0.5, "nv": 0.0}
    assert found.sentence().startswith("40.0% of the 5 ")
    assert "(mel 50%, nv 0%)" in found.sentence()


def test_leak_of_folds_by_hand() -> None:
    split, table = case(
        [
            ("a", "nv", "fold-0"),
            ("a", "nv", "fold-0"),  # a sibling in the same fold does not leak
            ("b", "nv", "fold-0"),
            ("b", "nv", "fold-1"),
            ("b", "nv", "test"),
            ("c", "nv", "test"),
        ]
    )
    found = leak(split, table)
    assert (found.images, found.siblings) == (6, 3)


def test_no_leak_is_said_so() -> None:
    split, table = case([("a", "nv", "train"), ("b", "nv", "test")])
    assert leak(split, table).sentence().startswith("None of the 1 ")
    split, table = case([("a", "nv", "train")])
    assert leak(split, table).overall == 0


roles = st.sampled_from(["train", "selection", "test"])
images = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["mel", "nv"]), roles), min_size=1, max_size=30
)


@settings(deadline=None)
@given(rows=images)
def test_leak_is_what_comparing_every_pair_finds(rows: list[tuple[str, str, str]]) -> None:
    found = leak(*case(rows))
    held = [(lesion, dx) for lesion, dx, role in rows if role != "train"]
    hit = [
        (lesion, dx) for lesion, dx in held if any(r == "train" and other == lesion for other, _, r in rows)
    ]
    assert (found.images, found.siblings) == (len(held), len(hit))
    for dx in {dx for _, dx in held}:
        share = sum(d == dx for _, d in hit) / sum(d == dx for _, d in held)
        assert found.by_class[dx] == pytest.approx(share)


@settings(deadline=None)
@given(rows=images)
def test_check_finds_lesions_in_two_roles(rows: list[tuple[str, str, str]]) -> None:
    split, table = case(rows)
    crossing = {a for a, _, role_a in rows for b, _, role_b in rows if a == b and role_a != role_b}
    warnings = check_disjoint(split, table, "paper")
    assert len(warnings) == (1 if crossing else 0)
    if crossing:
        count = sum(lesion in crossing for lesion, _, _ in rows)
        assert warnings[0].startswith(f"{len(crossing)} lesion")
        assert f"with {count} images" in warnings[0]
        with pytest.raises(UserError, match="grouped"):
            check_disjoint(split, table, "grouped")
    else:
        assert check_disjoint(split, table, "grouped") == []


def test_the_first_crossing_is_named() -> None:
    split, table = case(
        [("x", "nv", "train"), ("a", "mel", "train"), ("a", "mel", "train"), ("a", "mel", "test")]
    )
    (expected,) = check_disjoint(split, table, "singletons")
    assert expected.startswith("1 lesion with 3 images ")
    assert "I01 (train) and I03 (test)" in expected
    with pytest.raises(UserError) as caught:
        check_disjoint(split, table, "grouped")
    assert expected in str(caught.value)
    assert "dermlens data split" in str(caught.value)


def test_known_second_ids_count_as_one_lesion() -> None:
    """HAM_0000140 and HAM_0004919 are one lesion by the shipped list."""
    split, table = case([("HAM_0000140", "nv", "train"), ("HAM_0004919", "nv", "test"), ("x", "nv", "test")])
    with pytest.raises(UserError, match=r"1 lesion.*2 images"):
        check_disjoint(split, table, "grouped")
    found = leak(split, table)
    assert found.siblings == 0, "the leak is of lesion ids, as published"
    assert found.by_list == 1
    assert found.sentence().startswith("None of the 2 ")
    assert "; 1 does under another id" in found.sentence()


def test_a_leak_by_list_comes_on_top_of_that_by_id() -> None:
    split, table = case(
        [
            ("HAM_0000140", "nv", "train"),
            ("HAM_0000140", "nv", "test"),  # by id, and not again by list
            ("HAM_0004919", "nv", "test"),
            ("HAM_0004919", "nv", "selection"),
        ]
    )
    found = leak(split, table)
    assert (found.siblings, found.by_list) == (1, 2)
    assert found.sentence().startswith("33.3% of the 3 ")
    assert "(nv 33%), and 2 do under another id" in found.sentence()


def test_a_leak_by_list_between_folds() -> None:
    split, table = case(
        [("HAM_0000140", "nv", "fold-0"), ("HAM_0004919", "nv", "fold-0"), ("HAM_0004919", "nv", "fold-1")]
    )
    found = leak(split, table)
    assert (found.siblings, found.by_list) == (2, 1)


def test_equal_files_in_two_roles_are_found(tmp_path: Path) -> None:
    split, table = case([("a", "nv", "train"), ("b", "nv", "test"), ("c", "nv", "test")], tmp_path)
    for name, data in {"I00": b"same", "I01": b"same", "I02": b"diff"}.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    warnings = check_disjoint(split, table, "paper")
    expected = "1 image file with 2 images is in more than one role, I00 (train) and I01 (test) for one"
    assert expected in warnings
    with pytest.raises(UserError, match="image file"):
        check_disjoint(split, table, "grouped")
    # A file that has been replaced since, by one of the same size, is read again.
    (tmp_path / "I01.jpg").write_bytes(b"else")
    os.utime(tmp_path / "I01.jpg", (1, 1))
    assert check_disjoint(split, table, "grouped") == []


def test_equal_files_in_one_role_are_fine(tmp_path: Path) -> None:
    split, table = case([("a", "nv", "train"), ("b", "nv", "train"), ("c", "nv", "test")], tmp_path)
    for name, data in {"I00": b"same", "I01": b"same", "I02": b"diff"}.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    assert check_disjoint(split, table, "grouped") == []
