"""Where images come from: a column, a file next to the table, or the folder's name; never an input."""

from __future__ import annotations

from pathlib import Path

import pytest
from layouts import HEADER, IDS, ROWS, images, one_folder, written

from dermlens.data.table import read_table, table_sha256
from dermlens.errors import UserError


def with_column(root: Path, name: str, sources: list[str]) -> Path:
    images(root / "images", IDS)
    rows = [[*row, source] for row, source in zip(ROWS, sources, strict=True)]
    written(root / "HAM10000_metadata.csv", rows, [*HEADER, name])
    return root


@pytest.mark.parametrize("name", ["source", "dataset"])
def test_a_column_says_it_and_the_folder_where_it_is_empty(name, tmp_path):
    table = read_table(with_column(tmp_path / "clinic", name, ["a", "b", "", "unknown", "a"]))
    assert table["source"].tolist() == ["a", "b", "clinic", "clinic", "a"]


def test_a_file_beside_the_table_says_it(tmp_path):
    folder = one_folder(tmp_path / "ham10000")
    rows = [[f"{name}.jpg", f"camera {number % 2}"] for number, name in enumerate(reversed(IDS))]
    written(folder / "dataset_of_image.csv", rows[:-1], ["image_id", "dataset"])
    expected = {name.removesuffix(".jpg"): camera for name, camera in rows[:-1]}
    for given in (folder, folder / "HAM10000_metadata.csv"):
        table = read_table(given)
        assert table["source"].tolist() == [expected.get(name, "ham10000") for name in IDS]


def test_a_tables_own_column_wins_over_a_file_beside_it(tmp_path):
    folder = with_column(tmp_path / "clinic", "source", ["own"] * len(ROWS))
    written(folder / "dataset_of_image.csv", [[name, "other"] for name in IDS], ["image_id", "dataset"])
    assert set(read_table(folder)["source"]) == {"own"}


def test_a_folder_per_class_and_one_hot_columns_have_the_folders_name(tmp_path):
    for dx, name in (("nv", "a"), ("mel", "b")):
        images(tmp_path / "by_class" / dx, [name])
    assert set(read_table(tmp_path / "by_class")["source"]) == {"by_class"}
    images(tmp_path / "onehot" / "images", ["a", "b"])
    written(
        tmp_path / "onehot" / "truth.csv",
        [["a", "1", "0", "0"], ["b", "0", "1", "0"]],
        ["image", "MEL", "NV", "BCC"],
    )
    assert set(read_table(tmp_path / "onehot")["source"]) == {"onehot"}


def test_the_source_is_no_part_of_what_a_table_is_known_by(tmp_path):
    """A manifest holds for HAM10000 of 7 and of 8 columns."""
    seven, eight = one_folder(tmp_path / "7"), with_column(tmp_path / "8", "dataset", ["a"] * len(ROWS))
    assert table_sha256(read_table(seven)) == table_sha256(read_table(eight))


@pytest.mark.parametrize("ours", ["age", "sex", "site"])
@pytest.mark.parametrize("audited", ["source", "dataset", "dx_type", "dx"])
def test_what_is_for_audit_cannot_be_led_into_the_network(ours, audited, tmp_path):
    folder = with_column(tmp_path / "clinic", "dataset", ["a"] * len(ROWS))
    with pytest.raises(UserError, match=f"{ours}={audited}"):
        read_table(folder, columns={ours: audited})


def test_nor_under_a_name_that_a_map_gives_it(tmp_path):
    folder = with_column(tmp_path / "clinic", "camera", ["a"] * len(ROWS))
    with pytest.raises(UserError, match="source"):
        read_table(folder, columns={"source": "camera", "site": "camera"})
    assert set(read_table(folder, columns={"source": "camera"})["source"]) == {"a"}
