"""On HAM10000 the protocols give the published counts and leak, and the shipped manifest can be made again.

Published numbers: the stored outputs of the authors' notebooks, those of reference [14], and 20 draws of the
image-level split simulated on the public CSV.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.data.config import SplitConfig
from dermlens.data.leak import check_disjoint, leak
from dermlens.data.manifest import load_manifest
from dermlens.data.protocols import lesion_groups
from dermlens.data.split import make_split, resolve_split
from dermlens.data.table import read_table, table_sha256
from dermlens.errors import UserError
from dermlens.predict.sources.vocabulary import group_of

pytestmark = pytest.mark.realdata

CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]


@pytest.fixture(scope="module")
def table(ham10000: Path) -> pd.DataFrame:
    return read_table(ham10000)


@pytest.mark.parametrize(
    ("holdout", "train", "held"),
    [
        (0.10, [294, 463, 980, 103, 1000, 5994, 128], [33, 51, 109, 12, 111, 666, 14]),
        (0.15, [278, 437, 925, 98, 944, 5661, 121], [49, 77, 164, 17, 167, 999, 21]),
        (0.20, [261, 411, 871, 92, 889, 5328, 114], [66, 103, 218, 23, 222, 1332, 28]),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_paper_counts(
    table: pd.DataFrame, holdout: float, train: list[int], held: list[int], seed: int
) -> None:
    summary = make_split(table, SplitConfig(protocol="paper", holdout=holdout, seed=seed)).summary(table)
    assert summary.loc[("train", "images"), CLASSES].tolist() == train
    assert summary.loc[("selection", "images"), CLASSES].tolist() == held


def test_paper_leak(table: pd.DataFrame) -> None:
    """Published: 42.1 % with a standard deviation of 1.4 over 20 draws; by class as below."""
    shares = dict(zip(CLASSES, [0.52, 0.61, 0.56, 0.64, 0.72, 0.32, 0.53], strict=True))
    images = dict(zip(CLASSES, [33, 51, 109, 12, 111, 666, 14], strict=True))
    found = [leak(make_split(table, SplitConfig(protocol="paper", seed=seed)), table) for seed in range(20)]
    assert all(abs(one.overall - 0.421) < 4 * 0.014 for one in found)
    assert np.mean([one.overall for one in found]) == pytest.approx(0.421, abs=4 * 0.014 * np.sqrt(2 / 20))
    for dx, share in shares.items():
        sd = np.sqrt(share * (1 - share) / images[dx])
        assert np.mean([one.by_class[dx] for one in found]) == pytest.approx(
            share, abs=4 * sd * np.sqrt(2 / 20)
        )
    assert "of the 996 " in found[0].sentence()


def test_paper_is_warned_of(table: pd.DataFrame) -> None:
    split = make_split(table, SplitConfig(protocol="paper"))
    warnings = check_disjoint(split, table, "paper")
    assert any("lesions with" in warning for warning in warnings)
    with pytest.raises(UserError, match="grouped"):
        check_disjoint(split, table, "grouped")


@pytest.mark.parametrize(("holdout", "tested"), [(0.15, 828), (0.20, 1103), (0.30, 1655)])
def test_singletons_counts(table: pd.DataFrame, holdout: float, tested: int) -> None:
    split = make_split(table, SplitConfig(protocol="singletons", holdout=holdout))
    assert (len(split.ids("test")), len(split.ids("train"))) == (tested, 10_015 - tested)
    assert leak(split, table).siblings == 0


def test_grouped_v1_is_made_again_byte_for_byte(table: pd.DataFrame, tmp_path: Path) -> None:
    """The command is `dermlens data split --data DIR --protocol grouped`: the defaults, seed 0."""
    shuffled = table.sample(frac=1, random_state=7)
    make_split(shuffled, SplitConfig(seed=0)).save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == load_manifest("grouped-v1").text()


def test_grouped_v1_belongs_to_both_forms_of_the_table(
    table: pd.DataFrame, ham10000: Path, tmp_path: Path
) -> None:
    """With 7 columns, or 8 with the column `dataset`, it is one table."""
    published = pd.read_csv(ham10000 / "HAM10000_metadata.csv")
    for form in (
        published.drop(columns="dataset", errors="ignore"),
        published.assign(dataset="vidir_modern"),
    ):
        file = tmp_path / "set" / "HAM10000_metadata.csv"  # next to its folder lies nothing
        file.parent.mkdir(exist_ok=True)
        form.to_csv(file, index=False)
        read = read_table(file, check_files=False)
        assert table_sha256(read) == table_sha256(table)
        load_manifest("grouped-v1", read)


def test_grouped_v1_lets_nothing_through(table: pd.DataFrame) -> None:
    split = load_manifest("grouped-v1", table)
    assert check_disjoint(split, table, "grouped") == []
    assert leak(split, table).siblings == 0
    groups = lesion_groups(table)
    tested = table["image_id"].isin(split.ids("test"))
    assert not set(groups[tested]) & set(groups[~tested])
    assert groups.nunique() == 7_438


def test_folds_of_grouped_v1(table: pd.DataFrame) -> None:
    tested = load_manifest("grouped-v1").ids("test")
    assert make_split(table, SplitConfig(folds=5)).ids("test") == tested
    selections: list[str] = []
    for fold in range(5):
        split = resolve_split(table, SplitConfig(manifest="grouped-v1", folds=5, fold=fold))
        assert split.ids("test") == tested
        assert check_disjoint(split, table, "grouped") == []
        images = split.summary(table).xs("images", level="unit")
        assert (abs(images.loc["selection"] - (images.loc["train"] + images.loc["selection"]) / 5) <= 5).all()
        selections += split.ids("selection")
    assert sorted(selections + tested) == sorted(table["image_id"])


def test_every_site_of_the_data_has_a_group(table: pd.DataFrame, data_root: Path) -> None:
    sites = set(table["site"])
    for folder, column in {"isic2017": "site", "isic2018_val": "anatom_site_general"}.items():
        file = data_root / folder / "metadata.csv"
        if file.is_file():
            sites |= set(pd.read_csv(file)[column].dropna())
    assert {site for site in sites if group_of(site) == "unknown"} == {"unknown"}
