"""The lists of lesions with several ids: their form, and that the pictures are those of the sets."""

from __future__ import annotations

import csv
from collections import defaultdict
from importlib.resources import files

import pytest

from dermlens.data.manifest import load_manifest

FOLDERS = {
    "ham": "ham10000",
    "isic2017": "isic2017",
    "milk10k": "milk10k",
    "validation": "isic2018_val",
}


LISTS = ("shared_lesions.csv", "same_lesion_found_later.csv")


def rows(name: str) -> list[dict[str, str]]:
    text = (files("dermlens.data") / "manifests" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module", params=LISTS)
def listed(request) -> list[dict[str, str]]:
    return rows(request.param)


def test_every_group_joins_several_lesion_ids_and_bears_the_least(listed):
    groups: dict[str, set[str]] = defaultdict(set)
    for row in listed:
        groups[row["lesion_group"]].add(row["lesion_id"])
    assert len(groups) > 50
    for name, lesions in groups.items():
        assert len(lesions) > 1
        assert name == min(lesions)


def test_a_picture_and_a_lesion_are_in_one_group(listed):
    groups_of: dict[str, set[str]] = defaultdict(set)
    for row in listed:
        groups_of[row["lesion_id"]].add(row["lesion_group"])
    assert all(len(groups) == 1 for groups in groups_of.values())
    images = [row["image_id"] for row in listed]
    assert len(images) == len(set(images))


def test_the_lists_share_no_pair():
    """Across and within the other sets, or within HAM10000: each join stands in one list."""
    sets = {name: {row["set"] for row in rows(name)} for name in LISTS}
    assert sets["same_lesion_found_later.csv"] == {"ham"}


def test_what_data_sets_share_crosses_no_role_of_the_split_that_was_there_before():
    """Else `grouped-v1` would be refused as soon as the list is read."""
    role = load_manifest("grouped-v1").roles.set_index("lesion_id")["role"].to_dict()
    roles_of: dict[str, set[str]] = defaultdict(set)
    for row in rows("shared_lesions.csv"):
        roles_of[row["lesion_group"]] |= {role[row["lesion_id"]]} if row["lesion_id"] in role else set()
    assert max(len(roles) for roles in roles_of.values()) == 1


def test_the_rows_are_in_order_and_complete(listed):
    assert [(row["lesion_group"], row["image_id"]) for row in listed] == sorted(
        (row["lesion_group"], row["image_id"]) for row in listed
    )
    assert {row["looked_at"] for row in listed} == {"yes"}
    assert {row["set"] for row in listed} <= set(FOLDERS)
    assert all(int(row["inliers"]) >= 0 for row in listed)


@pytest.mark.realdata
@pytest.mark.parametrize("name", FOLDERS)
def test_the_pictures_are_in_their_set_under_that_lesion(listed, name, data_root):
    if not (data_root / FOLDERS[name]).is_dir():
        pytest.skip(f"{FOLDERS[name]} is not there")
    table = next((data_root / FOLDERS[name]).glob("*metadata.csv"))
    with table.open(encoding="utf-8") as file:
        lesion_of = {row["image_id"]: row["lesion_id"] or row["image_id"] for row in csv.DictReader(file)}
    ours = {row["image_id"]: row["lesion_id"] for row in listed if row["set"] == name}
    assert {image: lesion_of.get(image) for image in ours} == ours
