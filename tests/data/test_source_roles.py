"""Roles over several sources: a partition by lesion within each, home's roles kept, one test role."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.data import protocols as groups_module
from dermlens.data.leak import check_disjoint
from dermlens.data.manifest import Split, make_roles
from dermlens.data.protocols import draw_source_folds, draw_sources, without_source
from dermlens.errors import UserError

SOURCES, CLASSES = ("home", "north", "south"), ("mel", "nv", "vasc")
SHARES = {"selection": 0.1, "calibration": 0.1}
ROLES = ("train", "selection", "calibration", "test")


def make_table(lesions: list[tuple[str, str, int]]) -> pd.DataFrame:
    """Lesions given as (source, class, number of images); no files."""
    rows = [
        (f"{source}-{number:04d}", source, dx)
        for number, (source, dx, images) in enumerate(lesions)
        for _ in range(images)
    ]
    lesion, source, dx = (list(column) for column in zip(*rows, strict=True))
    image = [f"I{number:05d}" for number in range(len(rows))]
    frame = pd.DataFrame({"image_id": image, "lesion_id": lesion, "source": source, "dx": dx, "age": 50.0})
    return frame.assign(sex="male", site="back", path=[f"absent/{name}.jpg" for name in image])


def many(lesions: int = 900, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = (
        rng.choice(SOURCES, lesions),
        rng.choice(CLASSES, lesions, p=[0.3, 0.6, 0.1]),
        rng.integers(1, 4, lesions),
    )
    return make_table([(str(s), str(dx), int(n)) for s, dx, n in zip(*columns, strict=True)])


def home_of(table: pd.DataFrame, seed: int = 0) -> dict[str, str]:
    """Any role for each lesion of home."""
    rng = np.random.default_rng(seed)
    own = table[table["source"] == "home"]
    role = {lesion: str(rng.choice(ROLES, p=[0.6, 0.1, 0.1, 0.2])) for lesion in own["lesion_id"].unique()}
    return {image: role[lesion] for image, lesion in zip(own["image_id"], own["lesion_id"], strict=True)}


@pytest.fixture
def joined(monkeypatch):
    """Say which lesion ids are one lesion."""

    def join(*groups: set[str]) -> None:
        rows = [
            (str(number), lesion, lesion) for number, group in enumerate(groups) for lesion in sorted(group)
        ]
        monkeypatch.setattr(groups_module, "same_lesion_list", lambda: tuple(rows))

    return join


lesion_lists = st.lists(
    st.tuples(st.sampled_from(SOURCES), st.sampled_from(CLASSES), st.integers(1, 3)), min_size=1, max_size=50
)


@settings(deadline=None)
@given(lesions=lesion_lists, seed=st.integers(0, 5))
def test_every_lesion_has_one_role_home_its_own_and_test_is_homes(lesions, seed):
    table = make_table(lesions)
    home = home_of(table, seed)
    drawn = draw_sources(table, home, SHARES, seed)
    assert set(drawn) == set(table["image_id"])
    assert {image: drawn[image] for image in home} == home
    rows = table.assign(role=table["image_id"].map(drawn))
    assert rows.groupby("lesion_id")["role"].agg(set).map(len).max() == 1
    assert set(rows.loc[rows["role"] == "test", "source"]) <= {"home"}


def test_each_source_gives_each_role_its_share_of_every_class():
    table = many()
    drawn = draw_sources(table, home_of(table), SHARES, 0)
    first = table.assign(role=table["image_id"].map(drawn)).drop_duplicates("lesion_id")
    for (source, _), lesions in first.groupby(["source", "dx"]):
        if source != "home":
            for role, share in SHARES.items():
                assert abs((lesions["role"] == role).sum() - share * len(lesions)) < 1


def test_neither_the_order_of_the_rows_nor_another_source_changes_a_role():
    table = many()
    home = home_of(table)
    drawn = draw_sources(table, home, SHARES, 0)
    assert draw_sources(table.sample(frac=1, random_state=1), home, SHARES, 0) == drawn
    fewer = table[table["source"] != "south"]
    assert draw_sources(fewer, home, SHARES, 0) == {image: drawn[image] for image in fewer["image_id"]}


@pytest.mark.parametrize("role", ROLES)
def test_a_lesion_that_home_has_too_follows_it_and_has_no_role_where_that_is_test(role, joined):
    table = make_table([("home", "nv", 2), ("north", "nv", 2), ("south", "mel", 1), ("north", "nv", 1)])
    joined({"home-0000", "north-0001"})
    home = dict.fromkeys(["I00000", "I00001"], role)
    drawn = draw_sources(table, home, SHARES, 0)
    assert {drawn.get(image) for image in ("I00002", "I00003")} == {None if role == "test" else role}
    split = Split(make_roles(table, drawn), {"protocol": "sources"})
    assert check_disjoint(split, table, "sources") == []


def test_two_sources_that_share_a_lesion_have_it_in_one_role(joined):
    """A chain through three ids of two sources; over seeds every role comes."""
    others = [(source, "nv", 1) for source in ("north", "south")] * 20
    table = make_table([("north", "nv", 1), ("south", "nv", 2), ("south", "nv", 1), *others])
    joined({"north-0000", "south-0001"}, {"south-0001", "south-0002"})
    roles = []
    for seed in range(40):
        drawn = draw_sources(table, {}, {"selection": 0.3, "calibration": 0.3}, seed)
        found = {drawn[image] for image in ("I00000", "I00001", "I00002", "I00003")}
        assert len(found) == 1
        roles += found
    assert set(roles) == {"train", "selection", "calibration"}


def split_of(table: pd.DataFrame) -> Split:
    drawn = draw_sources(table, home_of(table), SHARES, 0)
    return Split(make_roles(table, drawn), {"protocol": "sources"})


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_left_out_is_scored_and_all_others_but_test_train(source):
    table = many()
    split = split_of(table)
    held = without_source(split, table, source)
    rows = held.roles.merge(table[["image_id", "source"]], on="image_id")
    assert set(rows.loc[rows["role"] == "selection", "source"]) == {source}
    assert source not in set(rows.loc[rows["role"] == "train", "source"])
    assert held.ids("test") == split.ids("test")
    assert len(rows) == len(split.roles)
    assert held.header["left-out"] == source


def test_a_lesion_that_the_left_out_source_shows_does_not_train(joined):
    table = many(60)
    north, south = (table.loc[table["source"] == s, "lesion_id"].iloc[0] for s in ("north", "south"))
    joined({north, south})
    held = without_source(split_of(table), table, "south")
    assert north not in set(held.roles["lesion_id"])
    assert south in set(held.roles.loc[held.roles["role"] == "selection", "lesion_id"])


def test_an_unknown_source_names_the_nearest():
    table = many(60)
    with pytest.raises(UserError, match=r"nort .*nearest: north"):
        without_source(split_of(table), table, "nort")


def test_nothing_to_train_on_or_to_score_is_refused():
    table = make_table([("north", "nv", 1), ("home", "nv", 1)])
    split = Split(make_roles(table, {"I00000": "train", "I00001": "test"}), {"protocol": "sources"})
    with pytest.raises(UserError, match=r"home.*test"):
        without_source(split, table, "home")
    with pytest.raises(UserError, match=r"outside of north.*test"):
        without_source(split, table, "north")


def test_folds_have_their_share_of_every_class_of_every_source_and_keep_lesions_together(joined):
    table = many()
    shared = {source: table.loc[table["source"] == source, "lesion_id"].iloc[0] for source in SOURCES}
    joined(set(shared.values()))
    rows = table.assign(fold=table["image_id"].map(draw_source_folds(table, 5, 0)))
    assert rows.groupby("lesion_id")["fold"].agg(set).map(len).max() == 1
    assert len(set(rows.loc[rows["lesion_id"].isin(shared.values()), "fold"])) == 1
    lesions = rows.drop_duplicates("lesion_id")
    lesions = lesions[~lesions["lesion_id"].isin(shared.values())]
    for _, part in lesions.groupby(["source", "dx"]):
        counts = part["fold"].value_counts().reindex([f"fold-{n}" for n in range(5)], fill_value=0)
        assert counts.max() - counts.min() <= 2
    assert lesions["fold"].value_counts().pipe(lambda n: n.max() - n.min()) <= 4
