from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermlens.data.predictions import arrays, classes_of, read_predictions, write_predictions
from dermlens.errors import UserError
from dermlens.labels import CLASSES


@pytest.fixture
def written(tmp_path, make_predictions):
    path = tmp_path / "predictions.csv"
    write_predictions(path, make_predictions(30))
    return path


def damaged(path, **changes):
    """The file with cells of its third image overwritten."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column, value in changes.items():
        table.loc[2, column] = value
    table.to_csv(path, index=False)
    return path


def test_what_is_written_is_read(tmp_path, make_predictions):
    table = make_predictions(50)
    path = tmp_path / "predictions.csv"
    write_predictions(path, table)
    read = read_predictions(path)
    assert classes_of(read) == CLASSES
    assert list(read.columns[:4]) == ["image_id", "lesion_id", "role", "target"]
    pd.testing.assert_frame_equal(read, table[read.columns], rtol=1e-8, check_dtype=False)
    assert sorted(path.parent.iterdir()) == [path]


def test_a_float32_survives(tmp_path, make_predictions):
    """Rounding may make no ties: two probabilities one step of float32 apart stay apart."""
    table = make_predictions(7)
    high = np.float32(0.4)
    row = [float(np.nextafter(high, np.float32(1))), float(high), 0.2, 0.0, 0.0, 0.0, 0.0]
    table.loc[0, [f"p_{code}" for code in CLASSES]] = row
    write_predictions(tmp_path / "predictions.csv", table)
    _, p_NC = arrays(read_predictions(tmp_path / "predictions.csv"), CLASSES)
    assert p_NC[0, 0] > p_NC[0, 1]
    assert np.float32(p_NC[0, 1]) == high


def test_empty_cells(written):
    """A missing age, a lesion of its own, unknown for other words; 'None' and '0012' stay words."""
    table = read_predictions(damaged(written, age="", lesion_id="", sex="", site="None", image_id="0012"))
    assert np.isnan(table.loc[2, "age"])
    assert table.loc[2, ["image_id", "lesion_id", "sex", "site"]].tolist() == [
        "0012",
        "0012",
        "unknown",
        "None",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"p_mel": "high"}, "row 4: p_mel is 'high'"),
        ({"p_mel": ""}, "row 4: p_mel is ''"),
        ({"p_mel": "1.5"}, "row 4: a probability"),
        ({"p_mel": "nan"}, "row 4: p_mel is 'nan'"),
        ({f"p_{code}": "0.1" for code in CLASSES}, "row 4: the probabilities"),
        ({"target": "melanoma"}, "row 4: the target"),
        ({"image_id": "selection_0"}, "row 4: the image"),
        ({"age": "old"}, "row 4: age is 'old'"),
    ],
)
def test_bad_cells_are_named(written, changes, words):
    with pytest.raises(UserError, match=words) as error:
        read_predictions(damaged(written, **changes))
    assert str(written) in str(error.value)


def test_bad_files_are_named(tmp_path, written):
    with pytest.raises(UserError, match="does not exist"):
        read_predictions(tmp_path / "none.csv")
    pd.read_csv(written).drop(columns="role").to_csv(written, index=False)
    with pytest.raises(UserError, match="column role"):
        read_predictions(written)
    written.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="CSV"):
        read_predictions(written)


def test_the_same_table_gives_the_same_bytes_under_any_name(tmp_path, make_predictions):
    table = make_predictions(20)
    for path in (tmp_path / "a" / "predictions.csv.gz", tmp_path / "b" / "others.csv.gz"):
        write_predictions(path, table)
    first, second = (path.read_bytes() for path in sorted(tmp_path.rglob("*.gz")))
    assert first == second
    pd.testing.assert_frame_equal(
        read_predictions(tmp_path / "a" / "predictions.csv.gz"),
        read_predictions(tmp_path / "b" / "others.csv.gz"),
    )


def test_skin_tone_is_written_and_read_where_it_is_known(tmp_path, make_predictions):
    table = make_predictions(6)
    table["skin_tone"] = [0.0, 1.0, 3.0, 5.0, np.nan, np.nan]
    path = tmp_path / "predictions.csv"
    write_predictions(path, table)
    assert pd.read_csv(path, dtype=str, keep_default_na=False)["skin_tone"].tolist() == [
        "0", "1", "3", "5", "", "",
    ]  # fmt: skip
    read = read_predictions(path)
    np.testing.assert_array_equal(read["skin_tone"], table["skin_tone"])
    write_predictions(path, table.drop(columns="skin_tone"))
    assert "skin_tone" not in read_predictions(path)


@pytest.mark.parametrize("cell", ["6", "-1", "2.5", "fair"])
def test_a_skin_tone_that_is_none_is_refused(tmp_path, make_predictions, cell):
    path = tmp_path / "predictions.csv"
    write_predictions(path, make_predictions(6).assign(skin_tone=3.0))
    with pytest.raises(UserError, match=r"row 4.*skin_tone"):
        read_predictions(damaged(path, skin_tone=cell))
