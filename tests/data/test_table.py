"""The LesionTable: every published layout gives the same one, and every mistake its sentence."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

import pandas as pd
import pandera.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.data.table import IDENTITY, read_table, schema, table_sha256
from dermlens.errors import UserError
from dermlens.labels import CLASSES

HEADER = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
ROWS = [
    ["HAM_0000118", "ISIC_0027419", "bkl", "histo", "80.0", "male", "scalp"],
    ["HAM_0000118", "ISIC_0025030", "bkl", "histo", "80.0", "male", "scalp"],
    ["HAM_0002730", "ISIC_0026769", "nv", "follow_up", "", "female", "unknown"],
    ["HAM_0000003", "ISIC_0030000", "mel", "consensus", "0.0", "unknown", "acral"],
    ["HAM_0000004", "ISIC_0030001", "vasc", "confocal", "45", "female", "lower extremity"],
]
IDS = [row[1] for row in ROWS]


def written(
    path: Path, rows: list[list[str]] = ROWS, header: list[str] = HEADER, delimiter: str = ","
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def images(folder: Path, ids: list[str], suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in ids:
        (folder / f"{image_id}{suffix}").write_bytes(b"not read here")


def one_folder(root: Path) -> Path:
    images(root / "images", IDS)
    written(root / "HAM10000_metadata.csv")
    return root


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
    table_above,
    table_above_of_two,
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
    table = read_table(layout(tmp_path))
    expected = pd.DataFrame(ROWS, columns=HEADER)
    assert table["image_id"].tolist() == IDS
    assert table.index.tolist() == list(range(len(ROWS)))
    for ours, theirs in (("lesion_id", "lesion_id"), ("dx", "dx"), ("sex", "sex"), ("site", "localization")):
        assert table[ours].tolist() == expected[theirs].tolist()
    assert table["dx_type"].tolist() == expected["dx_type"].tolist()
    pd.testing.assert_series_equal(table["age"], pd.to_numeric(expected["age"]), check_names=False)
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in table["path"])
    assert [Path(path).stem for path in table["path"]] == IDS
    assert set(table["dataset"]) == {"vidir_modern" if layout is eight_columns else "unknown"}
    assert table_sha256(table) == table_sha256(read_table(one_folder(tmp_path / "plain")))


def test_each_directory_is_listed_once_and_no_file_is_looked_at(folder, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: listed.append(str(place)) or scandir(place))
    read_table(folder)
    assert sorted(listed) == sorted({str(folder), str(folder / "images")})


@pytest.mark.parametrize("masks", ["masks", "HAM10000_segmentations_lesion_tschandl"])
def test_masks_ride_along_and_are_no_images(folder, masks):
    images(folder / masks, [f"{IDS[0]}_segmentation", f"{IDS[2]}_segmentation"], ".png")
    images(folder / masks, [f"._{IDS[1]}_segmentation"], ".png")  # archives made on a Mac
    table = read_table(folder)
    assert [mask is not None for mask in table["mask"]] == [True, False, True, False, False]
    assert table["mask"][0] == str(folder / masks / f"{IDS[0]}_segmentation.png")
    assert table["mask"][1] is None


def test_a_lesion_without_an_id_is_its_image(tmp_path):
    images(tmp_path, IDS[:2])
    written(
        tmp_path / "metadata.csv", [[IDS[0], "nv", ""], [IDS[1], "nv", "L1"]], ["image_id", "dx", "lesion_id"]
    )
    assert read_table(tmp_path)["lesion_id"].tolist() == [IDS[0], "L1"]


@pytest.mark.parametrize(
    ("said", "sex"),
    [
        ("FEMALE", "female"),
        ("f", "female"),
        ("Male", "male"),
        ("", "unknown"),
        ("unknown", "unknown"),
        ("NA", "unknown"),
    ],
)
def test_sex_is_one_of_three(folder, said, sex):
    written(folder / "HAM10000_metadata.csv", [[*ROWS[0][:5], said, "scalp"]])
    assert read_table(folder)["sex"].tolist() == [sex]


def test_missing_files_may_be_allowed(folder):
    (folder / "images" / f"{IDS[3]}.jpg").unlink()
    table = read_table(folder, check_files=False)
    assert table["path"][3] == str(folder / "images" / f"{IDS[3]}.jpg")


def test_a_relative_folder_gives_absolute_paths(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert read_table(Path("ham10000"))["path"].tolist() == read_table(folder)["path"].tolist()


def edited(row: int, column: str, value: str) -> list[list[str]]:
    rows = [list(each) for each in ROWS]
    rows[row][HEADER.index(column)] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (edited(1, "age", "400"), "row 3: age is 400; ages are 0 to 120 years, empty where unknown"),
        (edited(0, "age", "-3"), "row 2: age is -3; ages are 0 to 120 years, empty where unknown"),
        (edited(0, "age", "inf"), "row 2: age is inf; ages are 0 to 120 years, empty where unknown"),
        (edited(2, "age", "old"), "row 4: age is 'old'; ages are numbers of years, empty where unknown"),
        (edited(2, "sex", "weiblich"), "row 4: sex is 'weiblich'; it is female or male, empty where unknown"),
        (edited(3, "dx", "mell"), "row 5: diagnosis 'mell' is not known; nearest: mel"),
        (edited(3, "dx", ""), "row 5: no diagnosis; every image needs one of akiec, bcc"),
        (edited(4, "image_id", IDS[1]), f"row 6: image {IDS[1]} stands already in"),
        (edited(4, "image_id", ""), "row 6: no image id; every row names one image"),
        ([*ROWS, [*ROWS[0], "surplus"]], "row 7: 8 cells under 7 columns; a cell that holds a comma must"),
        ([], "has a header and no rows; each image needs one"),
    ],
)
def test_a_mistake_is_named_by_file_and_row(folder, rows, sentence):
    path = written(folder / "HAM10000_metadata.csv", rows)
    with pytest.raises(UserError) as caught:
        read_table(folder)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_sentence_names_the_file_as_the_user_did(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    written(folder / "HAM10000_metadata.csv", edited(1, "age", "400"))
    with pytest.raises(UserError) as caught:
        read_table(Path("ham10000"))
    assert str(caught.value) == (
        f"ham10000{os.sep}HAM10000_metadata.csv, row 3: age is 400; ages are 0 to 120 years, empty where unknown"
    )


def test_absent_images_are_counted_and_the_first_is_named(folder):
    for image_id in IDS[1:3]:
        (folder / "images" / f"{image_id}.jpg").unlink()
    with pytest.raises(UserError, match=rf"row 3: image {IDS[1]} is not in .*; 2 of 5 listed"):
        read_table(folder)


def test_an_image_that_lies_there_twice_and_differs_is_refused(folder):
    shutil.copytree(folder / "images", folder / "small")
    assert len(read_table(folder)) == len(ROWS)
    (folder / "small" / f"{IDS[0]}.jpg").write_bytes(b"another")
    with pytest.raises(UserError, match=f"image {IDS[0]} has files that differ"):
        read_table(folder)


@pytest.mark.parametrize("column", ["image_id", "dx"])
def test_a_table_without_a_column_says_which(folder, column):
    header = ["anything" if name == column else name for name in HEADER]
    written(folder / "HAM10000_metadata.csv", header=header)
    with pytest.raises(
        UserError, match=rf"HAM10000_metadata.csv has no column for {column} .*column map \({column}=…\)"
    ):
        read_table(folder)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(
        UserError, match=r"folder .*nowhere does not exist; name the one that holds the images"
    ):
        read_table(tmp_path / "nowhere")


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images and no table"):
        read_table(tmp_path / "empty")


@settings(deadline=None, max_examples=50)
@given(st.floats(allow_nan=False))
def test_ages_are_taken_or_refused_by_their_value(tmp_path_factory, age):
    folder = tmp_path_factory.mktemp("ages")
    images(folder, IDS[:1])
    written(folder / "metadata.csv", [[IDS[0], "nv", repr(age)]], ["image_id", "dx", "age"])
    if 0 <= age <= 120:
        assert read_table(folder)["age"].tolist() == [age]
    else:
        with pytest.raises(UserError, match="row 2: age is"):
            read_table(folder)


def test_the_hash_is_of_who_and_what_alone(folder, tmp_path):
    table = read_table(folder)
    other = table.sample(frac=1, random_state=3).assign(
        path="/elsewhere", dx_type="histo", dataset="x", mask=None
    )
    assert table_sha256(other) == table_sha256(table)


@pytest.mark.parametrize("column", IDENTITY)
def test_the_hash_changes_with_every_cell_of_identity(folder, column):
    table = read_table(folder)
    changed = table.copy()
    changed.loc[4, column] = 44.0 if column == "age" else "bcc"
    assert table_sha256(changed) != table_sha256(table)


def test_the_hash_tells_a_missing_age_from_zero(folder):
    table = read_table(folder)
    assert table_sha256(table.assign(age=table["age"].fillna(0.0))) != table_sha256(table)


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table.assign(age=table["age"] + 100),
        lambda table: table.assign(dx="melanoma"),
        lambda table: table.assign(sex="F"),
        lambda table: table.assign(image_id="one"),
        lambda table: table.drop(columns="mask"),
        lambda table: table.assign(biopsy="yes"),
    ],
    ids=["age", "dx", "sex", "unique", "lacking", "surplus"],
)
def test_the_schema_refuses_what_is_no_lesion_table(folder, damage):
    table = read_table(folder)
    schema(CLASSES).validate(table)
    with pytest.raises((pandera.errors.SchemaError, pandera.errors.SchemaErrors)):
        schema(CLASSES).validate(damage(table))
