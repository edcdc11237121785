"""The LesionTable: every published layout gives the same one, and every mistake its sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pandera.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import HEADER, IDS, ROWS, images, one_folder, written

from dermlens.data.table import IDENTITY, read_table, schema, table_sha256
from dermlens.errors import UserError
from dermlens.labels import CLASSES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return one_folder(tmp_path / "ham10000")


@pytest.mark.parametrize("masks", ["masks", "images", "HAM10000_segmentations_lesion_tschandl"])
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
    ("output", "sex"),
    [
        ("FEMALE", "female"),
        ("f", "female"),
        ("Male", "male"),
        ("", "unknown"),
        ("unknown", "unknown"),
        ("NA", "unknown"),
    ],
)
def test_sex_is_one_of_three(folder, output, sex):
    written(folder / "HAM10000_metadata.csv", [[*ROWS[0][:5], output, "scalp"]])
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
        (edited(1, "age", "400"), "row 3: age is 400"),
        (edited(0, "age", "-3"), "row 2: age is -3"),
        (edited(0, "age", "inf"), "row 2: age is inf"),
        (edited(2, "age", "1_0"), "row 4: age is '1_0'"),
        (edited(2, "age", "\u0663\u0664"), "row 4: age is"),
        (edited(2, "age", "old"), "row 4: age is 'old'"),
        (edited(2, "sex", "x1"), "row 4: sex is 'x1'"),
        (edited(3, "dx", "mell"), "row 5: diagnosis 'mell'"),
        (edited(3, "dx", ""), "row 5: no diagnosis"),
        (edited(4, "image_id", IDS[1]), f"row 6: image {IDS[1]}"),
        (edited(4, "image_id", ""), "row 6: no image id"),
        (edited(0, "image_id", "a\0b"), "row 2: image id 'a\\x00b'"),
        (edited(1, "image_id", "a\u2028b"), "row 3: image id 'a\\u2028b'"),
        (edited(2, "image_id", "=HYPERLINK(1)"), "row 4: image id '=HYPERLINK(1)'"),
        (edited(2, "lesion_id", "@x"), "row 4: lesion id '@x'"),
        (edited(2, "lesion_id", "x;=1+1"), "row 4: lesion id 'x;=1+1'"),
        (edited(2, "lesion_id", "＝1"), "row 4: lesion id '＝1'"),
        (edited(1, "lesion_id", "a\x85b"), "row 3: lesion id 'a\\x85b'"),
        (edited(2, "image_id", ".."), "row 4: image id '..'"),
        (edited(2, "image_id", "a..b"), "row 4: image id 'a..b'"),
        ([*ROWS, [*ROWS[0], "surplus"]], "row 7: 8 cells under 7 columns"),
        ([], "no rows"),
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
    assert str(caught.value).startswith(f"ham10000{os.sep}HAM10000_metadata.csv, row 3: age is 400")
    assert "0 to 120" in str(caught.value)
    assert str(caught.value).endswith("--value age.unknown=400")


def test_absent_images_are_counted_and_the_first_is_named(folder):
    for image_id in IDS[1:3]:
        (folder / "images" / f"{image_id}.jpg").unlink()
    with pytest.raises(UserError, match=rf"row 3.*{IDS[1]}.*2 of 5"):
        read_table(folder)


@pytest.mark.parametrize("column", ["image_id", "dx"])
def test_a_table_without_a_column_says_which(folder, column):
    header = ["anything" if name == column else name for name in HEADER]
    written(folder / "HAM10000_metadata.csv", header=header)
    with pytest.raises(
        UserError,
        match=rf"HAM10000_metadata.csv.*--column {column}=anything",
    ):
        read_table(folder)


@settings(deadline=None, max_examples=30)
@given(st.floats(allow_nan=False))
def test_ages_are_taken_or_refused_by_their_value(tmp_path_factory, age):
    folder = tmp_path_factory.mktemp("ages")
    images(folder, IDS[:1])
    written(folder / "metadata.csv", [[IDS[0], "nv", repr(age)]], ["image_id", "dx", "age"])
    if 0 <= age <= 120:
        assert read_table(folder)["age"].tolist() == [age]
    else:
        with pytest.raises(UserError, match=r"row 2.*age"):
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
    changed.loc[4, column] = 45.5 if column == "age" else "bcc"
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
