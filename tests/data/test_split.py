"""Splits are partitions, keep lesions together, give roles their share of each class, can be made again."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.data.config import SplitConfig
from dermlens.data.manifest import Split
from dermlens.data.protocols import lesion_groups, same_lesion_list
from dermlens.data.split import make_split, resolve_split
from dermlens.errors import UserError

CLASSES = ("mel", "nv", "vasc")
ROLES = ("train", "selection", "calibration", "test")


def make_table(lesions: list[tuple[str, int]]) -> pd.DataFrame:
    """A table of lesions given as (class, number of images); no files."""
    rows = [(f"L{number:04d}", dx) for number, (dx, images) in enumerate(lesions) for _ in range(images)]
    lesion, dx = (list(column) for column in zip(*rows, strict=True))
    image = [f"I{(7919 * number) % 99991:05d}" for number in range(len(rows))]
    return pd.DataFrame({"image_id": image, "lesion_id": lesion, "dx": dx, "age": 50.0}).assign(
        sex="male", site="back", path=[f"absent/{name}.jpg" for name in image]
    )


def many(lesions: int = 600, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    dx = draw.choice(CLASSES, size=lesions, p=[0.2, 0.7, 0.1])
    return make_table(list(zip(dx.tolist(), draw.integers(1, 7, size=lesions).tolist(), strict=True)))


tables = st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(1, 4)), min_size=1, max_size=60).map(
    make_table
)
foldable = st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(1, 4)), max_size=40).map(
    lambda lesions: make_table([*lesions, *((dx, 1 + number % 3) for dx in CLASSES for number in range(9))])
)
shares = st.sampled_from(
    [(0.1, 0.1, 0.15), (0.2, 0.0, 0.3), (0.05, 0.4, 0.5), (0.0, 0.0, 0.0), (1 / 3, 0.3, 1 / 3)]
)


def role_of_lesion(split: Split) -> pd.Series:
    roles = split.roles.groupby("lesion_id")["role"].agg(set)
    assert (roles.map(len) == 1).all(), "a lesion is in two roles"
    return roles.map(lambda names: next(iter(names)))


@settings(deadline=None)
@given(table=tables, share=shares, seed=st.integers(0, 5))
def test_grouped_is_a_partition_by_lesion_with_the_shares_of_every_class(
    table: pd.DataFrame, share: tuple[float, float, float], seed: int
) -> None:
    selection, calibration, test = share
    config = SplitConfig(selection=selection, calibration=calibration, test=test, seed=seed)
    split = make_split(table, config)
    assert split.roles["image_id"].tolist() == sorted(table["image_id"])
    assert sorted(image for role in ROLES for image in split.ids(role)) == sorted(table["image_id"])
    roles = role_of_lesion(split)
    wanted = {"train": 1 - sum(share), "selection": selection, "calibration": calibration, "test": test}
    for dx, lesions in table.groupby("dx")["lesion_id"].unique().items():
        for role, part in wanted.items():
            got = (roles[lesions] == role).sum()
            assert abs(got - part * len(lesions)) <= 1 + 1e-9, (dx, role)
            assert part > 0 or got == 0


@settings(deadline=None, max_examples=30)
@given(table=foldable, folds=st.integers(2, 7), seed=st.integers(0, 5))
def test_folds_are_even_and_leave_the_test_lesions_as_they_are(
    table: pd.DataFrame, folds: int, seed: int
) -> None:
    split = make_split(table, SplitConfig(folds=folds, seed=seed))
    for other in (0.1, 0.3):
        assert split.ids("test") == make_split(table, SplitConfig(seed=seed, selection=other)).ids("test")
    assert sorted(split.roles["image_id"]) == sorted(table["image_id"])
    roles = role_of_lesion(split)
    names = [f"fold-{fold}" for fold in range(folds)]
    dx_of_lesion = table.groupby("lesion_id")["dx"].first()
    by_class = pd.crosstab(roles, dx_of_lesion).reindex(names, fill_value=0)
    assert (by_class.max() - by_class.min() <= 1).all()
    total = by_class.sum(axis=1)
    assert total.max() - total.min() <= 1


@pytest.mark.parametrize(
    "config",
    [
        SplitConfig(),
        SplitConfig(folds=5),
        SplitConfig(protocol="paper"),
        SplitConfig(protocol="singletons", holdout=0.2),
    ],
    ids=["grouped", "folds", "paper", "singletons"],
)
def test_row_order_changes_nothing_and_the_seed_does(config: SplitConfig) -> None:
    table = many()
    text = make_split(table, config).text()
    for seed in range(3):
        shuffled = table.sample(frac=1, random_state=seed, ignore_index=seed > 0)
        assert make_split(shuffled, config).text() == text
    other = make_split(table, config.model_copy(update={"seed": 1}))
    assert other.roles["role"].tolist() != make_split(table, config).roles["role"].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_roles_get_their_share_of_images_too(seed: int) -> None:
    """Lesions are spread by their number of images; drawing lesions alone is off by about 12 images here."""
    table = many(seed=seed)
    split = make_split(table, SplitConfig(seed=seed))
    for role, share in {"selection": 0.1, "calibration": 0.1, "test": 0.15}.items():
        assert abs(len(split.ids(role)) - share * len(table)) <= 9
    folds = make_split(table, SplitConfig(seed=seed, folds=5)).roles["role"].value_counts().drop("test")
    assert folds.max() - folds.min() <= 12


def test_each_lesion_can_be_tested_on() -> None:
    """Spreading makes no pattern: over seeds, any lesion is tested on as often as any other."""
    table = make_table([("nv", 1 + number % 3) for number in range(60)])
    drawn = pd.Series(0, index=table["lesion_id"].unique())
    for seed in range(200):
        drawn[
            role_of_lesion(make_split(table, SplitConfig(seed=seed))).eq("test")[lambda test: test].index
        ] += 1
    sd = math.sqrt(200 * 0.15 * 0.85)
    assert (abs(drawn - 30) < 4.5 * sd).all()


def test_known_lesions_of_several_ids_stay_together() -> None:
    """The shipped lists join by image id, by lesion id, and through a third lesion."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for group, image, lesion in same_lesion_list():
        groups.setdefault(group, []).append((image, lesion))
    assert len(groups) == 40 + 164  # within HAM10000 and with its challenge sets; between data sets
    rows = [(image, lesion, group) for group, members in groups.items() for image, lesion in members]
    images, lesions, names = (list(column) for column in zip(*rows, strict=True))
    table = pd.DataFrame({"image_id": images, "lesion_id": lesions})
    assert lesion_groups(table).groupby(names).nunique().eq(1).all()
    assert lesion_groups(table).nunique() == 204
    by_image = lesion_groups(table.assign(lesion_id=[f"own-{image}" for image in images]))
    assert by_image.nunique() == 204
    by_lesion = lesion_groups(table.assign(image_id=[f"own-{image}" for image in images]))
    assert by_lesion.nunique() == 204


def test_lesions_that_share_a_file_stay_together(tmp_path) -> None:
    table = make_table([("nv", 2)] * 6)
    table["path"] = [str(tmp_path / f"{name}.jpg") for name in table["image_id"]]
    for number, path in enumerate(table["path"]):
        (tmp_path / path).write_bytes(b"%04d" % number)
    (tmp_path / table["path"][11]).write_bytes(b"0000")
    groups = lesion_groups(table)
    assert groups.nunique() == 5
    assert groups[0] == groups[1] == groups[10] == groups[11] == "L0000"


def test_a_group_that_disagrees_counts_under_its_rarest_class() -> None:
    """As a nevus it would be tested on in some draws; as the only melanoma it is trained on in all."""
    table = make_table([("nv", 2)] * 40)
    table.loc[table["lesion_id"] == "L0007", "dx"] = ["nv", "mel"]
    for seed in range(20):
        assert role_of_lesion(make_split(table, SplitConfig(seed=seed)))["L0007"] == "train"


def test_paper_draws_images_with_an_age() -> None:
    table = many()
    table.loc[::10, "age"] = math.nan
    split = make_split(table, SplitConfig(protocol="paper", holdout=0.2))
    known = table[table["age"].notna()]
    assert sorted(split.ids("train") + split.ids("selection")) == sorted(known["image_id"])
    assert len(split.ids("selection")) == math.ceil(0.2 * len(known))
    held = known[known["image_id"].isin(split.ids("selection"))]["dx"].value_counts()
    assert (abs(held - 0.2 * known["dx"].value_counts()) <= 1).all()


def test_singletons_tests_on_lesions_with_one_image() -> None:
    table = many()
    split = make_split(table, SplitConfig(protocol="singletons", holdout=0.3))
    sizes = table["lesion_id"].value_counts()
    single = sizes[sizes == 1].index
    tested = split.roles[split.roles["role"] == "test"]
    assert set(tested["lesion_id"]) <= set(single)
    assert len(tested) == math.ceil(0.3 * len(single))
    assert len(split.ids("train")) == len(table) - len(tested)


def test_impossible_draws_say_what_would_be_right() -> None:
    table = many()
    with pytest.raises(UserError, match=r"3 classes.*split.holdout"):
        make_split(table, SplitConfig(protocol="paper", holdout=0))
    with pytest.raises(UserError, match=r"two images.*mel"):
        make_split(make_table([("nv", 3), ("mel", 1)]), SplitConfig(protocol="paper"))
    with pytest.raises(UserError, match=r"paper.*0 images"):
        make_split(table.assign(age=math.nan), SplitConfig(protocol="paper"))
    with pytest.raises(UserError, match=r"split.folds.*split.protocol"):
        make_split(table, SplitConfig(protocol="paper", folds=5))
    few = make_table([("nv", 1)] * 20 + [("mel", 2)] * 4)
    with pytest.raises(UserError, match=r"4 folds.*mel.*3"):
        make_split(few, SplitConfig(folds=4))
    assert make_split(few, SplitConfig(folds=3)).folds == 3


@settings(max_examples=20, deadline=None)
@given(table=foldable, folds=st.integers(2, 4), data=st.data())
def test_a_resolved_fold_is_selection_and_the_others_train(table: pd.DataFrame, folds: int, data) -> None:
    split = make_split(table, SplitConfig(folds=folds))
    fold = data.draw(st.integers(0, folds - 1))
    resolved = resolve_split(table, SplitConfig(folds=folds, fold=fold))
    assert resolved.ids("selection") == split.ids(f"fold-{fold}")
    assert resolved.ids("test") == split.ids("test")
    assert len(resolved.ids("train")) == len(table) - len(resolved.ids("selection")) - len(
        resolved.ids("test")
    )
    assert resolved.header["fold"] == str(fold)


def test_a_manifest_wins_over_the_protocol(tmp_path) -> None:
    table = many()
    saved = make_split(table, SplitConfig(protocol="paper"))
    saved.save(tmp_path / "mine.csv")
    resolved = resolve_split(
        table, SplitConfig(manifest=str(tmp_path / "mine.csv"), protocol="grouped", seed=9)
    )
    assert resolved.text() == saved.text()


def test_folds_of_a_manifest_keep_its_test_role(tmp_path) -> None:
    table = many()
    saved = make_split(table, SplitConfig(seed=3))
    saved.save(tmp_path / "mine.csv")
    selections = []
    for fold in range(4):
        config = SplitConfig(manifest=str(tmp_path / "mine.csv"), folds=4, fold=fold, seed=8)
        resolved = resolve_split(table, config)
        assert resolved.ids("test") == saved.ids("test")
        role_of_lesion(resolved)
        selections += resolved.ids("selection")
    assert sorted(selections) == sorted(set(table["image_id"]) - set(saved.ids("test")))


def test_a_manifest_with_folds_keeps_its_own(tmp_path) -> None:
    table = many()
    path = str(tmp_path / "folds.csv")
    make_split(table, SplitConfig(folds=3)).save(tmp_path / "folds.csv")
    expected = resolve_split(table, SplitConfig(folds=3, fold=2)).roles
    pd.testing.assert_frame_equal(
        resolve_split(table, SplitConfig(manifest=path, folds=3, fold=2)).roles, expected
    )
    pd.testing.assert_frame_equal(resolve_split(table, SplitConfig(manifest=path, fold=2)).roles, expected)
    with pytest.raises(UserError, match=r"3 folds.*split.folds 5"):
        resolve_split(table, SplitConfig(manifest=path, folds=5))
    with pytest.raises(UserError, match=r"split.fold 3.*3 folds"):
        resolve_split(table, SplitConfig(manifest=path, fold=3))


def test_a_leaking_manifest_is_not_cut_into_folds(tmp_path) -> None:
    table = many()
    make_split(table, SplitConfig(protocol="paper")).save(tmp_path / "paper.csv")
    with pytest.raises(UserError, match="protocol paper"):
        resolve_split(table, SplitConfig(manifest=str(tmp_path / "paper.csv"), folds=3))
