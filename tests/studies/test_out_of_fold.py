from __future__ import annotations

import pandas as pd
import pytest

from dermlens.data.predictions import AFTER, BEFORE
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.studies.folds import merge, read_out_of_fold, write_out_of_fold


def test_columns_are_a_runs_and_fold(predictions, tmp_path):
    write_out_of_fold(tmp_path / "p.csv", predictions())
    columns = list(pd.read_csv(tmp_path / "p.csv", nrows=0).columns)
    assert columns == [*BEFORE, *(f"p_{code}" for code in CLASSES), *AFTER, "fold"]


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz"])
def test_what_is_written_is_read(predictions, tmp_path, name):
    write_out_of_fold(tmp_path / name, predictions())
    found = read_out_of_fold(tmp_path / name)
    pd.testing.assert_frame_equal(found, predictions()[found.columns.tolist()], rtol=1e-8, check_dtype=False)


def test_merging_parts_gives_back_the_whole(predictions):
    table = predictions()
    parts = {fold: part[::-1].assign(role="selection") for fold, part in table.groupby("fold")}
    merged = merge(parts)
    pd.testing.assert_frame_equal(merged[table.columns.tolist()], table, check_dtype=False)


def test_a_table_without_folds_is_refused(predictions, tmp_path):
    predictions().drop(columns="fold").to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(UserError, match="column fold"):
        read_out_of_fold(tmp_path / "p.csv")
    predictions().astype({"fold": str}).replace({"fold": {"1": "one"}}).to_csv(
        tmp_path / "p.csv", index=False
    )
    with pytest.raises(UserError, match=r"row 16.*fold.*'one'"):
        read_out_of_fold(tmp_path / "p.csv")
