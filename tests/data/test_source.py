"""Which form a data set has: every published layout of HAM10000 gives one table, and nothing is guessed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from layouts import HEADER, IDS, ROWS, images, one_folder, written

from dermlens.data.table import read_table, table_sha256
from dermlens.errors import UserError


def two_folders(root: Path) -> Path:
    images(root / "HAM10000_images_part_1", IDS[:2])
    images(root / "HAM10000_images_part_2", IDS[2:])
    written(root / "HAM10000_metadata.csv")
    return root


def mirrored_twice(root: Path) -> Path:
    """Kaggle's mirror holds every image twice, and tables of pixels besides."""
    for part, ids in (("HAM10000_images_part_1", IDS[:2]), ("ham10000_images_part_2", IDS[2:])):
        images(root / part, ids)
        images(root / part / part, ids)
    written(root / "hmnist_8_8_L.csv", [["1", "2", "0"]], ["pixel0000", "pixel0001", "label"])
    written(root / "HAM10000_metadata.csv")
    return root


def table_above(root: Path) -> Path:
    images(root / "images", IDS)
    written(root / "HAM10000_metadata.csv")
    written(root / "same_lesion_other_id.csv", [["a", "b"]], ["lesion_group", "image_id"])
    return root / "images"


def table_above_of_two(root: Path) -> Path:
    images(root / "data" / "part_1", IDS[:2])
    images(root / "data" / "part_2", IDS[2:])
    written(root / "HAM10000_metadata.csv")
    return root / "data"


def the_table_itself(root: Path) -> Path:
    return one_folder(root) / "HAM10000_metadata.csv"


def beside_the_images(root: Path) -> Path:
    images(root, IDS)
    written(root / "HAM10000_metadata.csv")
    return root


def eight_columns(root: Path) -> Path:
    images(root / "images", IDS)
    written(root / "HAM10000_metadata.csv", [[*row, "vidir_modern"] for row in ROWS], [*HEADER, "dataset"])
    return root


def dataverse_export(root: Path) -> Path:
    images(root / "images", IDS)
    written(root / "HAM10000_metadata.tab", delimiter="\t")
    return root


def with_the_test_truth(root: Path) -> Path:
    written(root / "ISIC2018_Task3_Test_GroundTruth.csv", [[*ROWS[0]]])
    return one_folder(root)


def spreadsheet_export(root: Path) -> Path:
    path = written(root / "HAM10000_metadata.csv", delimiter=";")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    images(root / "images", IDS, ".JPG")
    return root


LAYOUTS = [
    one_folder,
    two_folders,
    mirrored_twice,
    the_table_itself,
    beside_the_images,
    eight_columns,
    dataverse_export,
    with_the_test_truth,
    spreadsheet_export,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return one_folder(tmp_path / "ham10000")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_every_published_layout_gives_the_same_table(layout, tmp_path):
    given = layout(tmp_path)
    table = read_table(given)
    expected = pd.DataFrame(ROWS, columns=HEADER)
    assert table["image_id"].tolist() == IDS
    assert table.index.tolist() == list(range(len(ROWS)))
    for ours, theirs in (("lesion_id", "lesion_id"), ("dx", "dx"), ("sex", "sex"), ("site", "localization")):
        assert table[ours].tolist() == expected[theirs].tolist()
    assert table["dx_type"].tolist() == expected["dx_type"].tolist()
    pd.testing.assert_series_equal(table["age"], pd.to_numeric(expected["age"]), check_names=False)
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in table["path"])
    assert [Path(path).stem for path in table["path"]] == IDS
    assert set(table["source"]) == {
        "vidir_modern" if layout is eight_columns else given.parent.name if given.is_file() else given.name
    }
    assert table_sha256(table) == table_sha256(read_table(one_folder(tmp_path / "plain")))


def test_each_directory_is_listed_once_and_no_file_is_looked_at(folder, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: listed.append(str(place)) or scandir(place))
    read_table(folder)
    assert sorted(listed) == sorted({str(folder), str(folder / "images")})


def test_an_image_that_lies_there_twice_and_differs_is_refused(folder):
    shutil.copytree(folder / "images", folder / "small")
    assert len(read_table(folder)) == len(ROWS)
    (folder / "small" / f"{IDS[0]}.jpg").write_bytes(b"another")
    with pytest.raises(UserError, match=rf"image {IDS[0]}"):
        read_table(folder)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        read_table(tmp_path / "nowhere")


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no table"):
        read_table(tmp_path / "empty")


@pytest.mark.parametrize("layout", [table_above, table_above_of_two], ids=lambda layout: layout.__name__)
def test_nothing_is_taken_from_the_folder_above(layout, tmp_path):
    """The table there is named, for the user to say that it is meant."""
    with pytest.raises(UserError, match=r"no table.*HAM10000_metadata\.csv"):
        read_table(layout(tmp_path))


def test_images_without_a_table(tmp_path):
    images(tmp_path / "pictures", ["a"])
    with pytest.raises(UserError, match=r"no table.*image_id and dx.*pictures"):
        read_table(tmp_path)


def test_several_tables_are_not_guessed_between(tmp_path):
    for name in ("one.csv", "two.csv"):
        written(tmp_path / name, [["a", "nv"]], ["image_id", "dx"])
    images(tmp_path / "images", ["a"])
    with pytest.raises(UserError, match=r"one\.csv.*two\.csv"):
        read_table(tmp_path)
    assert len(read_table(tmp_path / "two.csv")) == 1
