"""The three data sets as one table, and the manifest that is made of them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

from dermlens.data.config import SplitConfig
from dermlens.data.leak import check_disjoint
from dermlens.data.manifest import HOME, load_manifest
from dermlens.data.split import make_split, resolve_split
from dermlens.data.table import read_configured
from dermlens.recipe import load_recipe

pytestmark = pytest.mark.realdata

LEFT_OUT = ("rosendahl", "isic2017", "milk10k")


@pytest.fixture(scope="module")
def table(data_root: Path) -> pd.DataFrame:
    for name in ("ham10000", "isic2017", "milk10k"):
        if not (data_root / name).is_dir():
            pytest.skip(f"DERMLENS_DATA has no {name} folder")
    return read_configured(data_root, load_recipe("sources/efficientnet_lite0").data)


def test_sources_have_the_images_that_their_readme_counts(table):
    assert table["source"].value_counts().to_dict() == {
        "vidir_molemax": 3954,
        "vidir_modern": 3363,
        "isic2017": 2744,
        "rosendahl": 2259,
        "milk10k": 2082 - 288,
        "vienna_dias": 439,
    }
    counts = pd.crosstab(table["source"], table["dx"])
    rosendahl = {"akiec": 295, "bcc": 296, "bkl": 490, "df": 30, "mel": 342, "nv": 803, "vasc": 3}
    assert counts.loc["rosendahl"].to_dict() == rosendahl
    assert counts.loc["isic2017", ["nv", "mel", "bkl"]].tolist() == [1837, 521, 386]
    assert (table["aspect"].notna() == (table["source"] == "isic2017")).all()


def test_the_shipped_manifest_can_be_made_again_byte_for_byte(table):
    shipped = (files("dermlens.data") / "manifests" / "sources-v1.csv").read_text(encoding="utf-8")
    assert make_split(table, SplitConfig(protocol="sources")).text() == shipped


def test_home_keeps_its_roles_and_has_the_only_test_role(table):
    home, split = load_manifest(HOME).roles, load_manifest("sources-v1", table)
    rows = split.roles.merge(home, on="image_id", how="left", suffixes=("", "_home"))
    own = rows["role_home"].notna()
    assert own.sum() == len(home)
    assert (rows.loc[own, "role"] == rows.loc[own, "role_home"]).all()
    assert set(split.ids("test")) == set(load_manifest(HOME).ids("test"))
    assert check_disjoint(split, table, split.protocol) == []


@pytest.mark.parametrize("source", LEFT_OUT)
def test_a_source_left_out_neither_trains_nor_opens_the_test_role(source, table):
    split = resolve_split(table, SplitConfig(manifest="sources-v1", left_out=source))
    rows = split.roles.merge(table[["image_id", "source"]], on="image_id")
    assert set(rows.loc[rows["role"] == "selection", "source"]) == {source}
    assert source not in set(rows.loc[rows["role"] == "train", "source"])
    assert set(split.ids("test")) == set(load_manifest(HOME).ids("test"))
    assert check_disjoint(split, table, split.protocol) == []
