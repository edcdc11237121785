"""Several data folders as one table."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from layouts import images, one_folder, written

from dermlens.data.config import DataConfig
from dermlens.data.table import read_configured, read_configured_set
from dermlens.errors import UserError

THEIRS = ["image_id", "lesion_id", "dx", "age", "sex", "site"]


def other_folder(root: Path, ids: list[str], dx: list[str]) -> Path:
    """A folder in another layout, with other words."""
    images(root / "images", ids)
    rows = [[name, f"L_{name}", code, "40", "female", "trunk"] for name, code in zip(ids, dx, strict=True)]
    written(root / "metadata.csv", rows, THEIRS)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    one_folder(tmp_path / "ham10000")
    other_folder(tmp_path / "isic2017", ["A1", "A2"], ["nv", "mel"])
    other_folder(tmp_path / "milk10k", ["B1", "B2", "B3"], ["bcc", "other", "nv"])
    return tmp_path


def config(**settings) -> DataConfig:
    return DataConfig(**({"folders": ("ham10000", "isic2017", "milk10k"), "skip": ("other",)} | settings))


def test_one_table_in_the_order_of_the_folders(data):
    table = read_configured(data, config())
    assert table["source"].tolist() == ["ham10000"] * 5 + ["isic2017"] * 2 + ["milk10k"] * 2
    assert table["image_id"].tolist()[5:] == ["A1", "A2", "B1", "B3"]
    assert table.index.tolist() == list(range(9))
    assert all(Path(path).is_file() for path in table["path"])


def test_skipped_diagnoses_are_left_out_even_where_they_are_classes_and_counted(data):
    assert "B2" not in set(read_configured(data, config())["image_id"])
    read = read_configured_set(data, config(skip=("other", "mel", "bcc")))
    assert not {"mel", "bcc"} & set(read.table["dx"])
    output = " ".join(read.account.sentences())
    assert output.count("read: ") == 3
    assert "left out: 2 images" in output
    assert "'other' 1" in output


def test_squashed_sources_say_the_proportions_of_their_scene(data):
    table = read_configured(data, config(squashed={"isic2017": (4, 3)}))
    assert (table["aspect"].notna() == (table["source"] == "isic2017")).all()
    assert math.isclose(table.loc[5, "aspect"], 4 / 3)


def test_an_image_in_two_folders_is_named(data):
    other_folder(data / "again", ["A2"], ["mel"])
    with pytest.raises(UserError, match=r"A2.*isic2017"):
        read_configured(data, config(folders=("isic2017", "again")))


def test_equal_lesion_ids_in_two_folders_are_one_lesion(data):
    """The archive's ids mean the same lesion everywhere; taking two for one can only hold back too much."""
    from dermlens.data.protocols import lesion_groups

    written(data / "milk10k" / "metadata.csv", [["B1", "L_A1", "bcc", "", "", ""]], THEIRS)
    table = read_configured(data, config(folders=("isic2017", "milk10k")))
    group = lesion_groups(table)[table["image_id"].isin(["A1", "B1"])]
    assert group.nunique() == 1


def test_a_folder_that_is_not_there_and_a_file_in_its_place(data):
    with pytest.raises(UserError, match="nowhere"):
        read_configured(data, config(folders=("ham10000", "nowhere")))
    with pytest.raises(UserError, match=r"data\.folders"):
        read_configured(data / "ham10000" / "HAM10000_metadata.csv", config())


def test_a_folder_is_named_once():
    with pytest.raises(ValueError, match="twice"):
        config(folders=("a", "a"))
