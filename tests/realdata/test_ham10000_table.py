"""The real data sets, read and verified: counts as published, duplicates as known."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from dermlens.data.table import read_table
from dermlens.data.verify import verify

pytestmark = pytest.mark.realdata

PAD_COLUMNS = {
    "image_id": "img_id",
    "lesion_id": "patient_id+lesion_id",
    "dx": "diagnostic",
    "sex": "gender",
    "site": "region",
}
PAD_LABELS = {"ACK": "ack", "BCC": "bcc", "MEL": "mel", "NEV": "nev", "SCC": "scc", "SEK": "sek"}


def test_the_counts_are_those_published(ham10000):
    """Tschandl et al. 2018, table 1, and the record's 7,470 lesions."""
    table = read_table(ham10000)
    assert (len(table), table["lesion_id"].nunique()) == (10_015, 7_470)
    assert Counter(table["dx"]) == {
        "nv": 6705,
        "mel": 1113,
        "bkl": 1099,
        "bcc": 514,
        "akiec": 327,
        "vasc": 142,
        "df": 115,
    }
    assert Counter(table["dx_type"]) == {"histo": 5340, "follow_up": 3704, "consensus": 902, "confocal": 69}
    assert Counter(table["sex"]) == {"male": 5406, "female": 4552, "unknown": 57}
    assert int(table["age"].isna().sum()) == 57
    assert table["site"].nunique() == 15
    assert all(Path(path).is_file() for path in table["path"])


def test_cells_agree_with_an_independent_reading(ham10000):
    table, raw = read_table(ham10000), pd.read_csv(ham10000 / "HAM10000_metadata.csv")
    for ours, theirs in (("image_id", "image_id"), ("lesion_id", "lesion_id"), ("site", "localization")):
        assert table[ours].tolist() == raw[theirs].tolist()
    pd.testing.assert_series_equal(table["age"], raw["age"])


def test_every_image_has_its_mask(ham10000):
    table = read_table(ham10000)
    assert [Path(mask).name for mask in table["mask"]] == [
        f"{name}_segmentation.png" for name in table["image_id"]
    ]


@pytest.fixture(scope="module")
def verified(ham10000):
    return verify(ham10000)


def test_nothing_is_wrong_with_it(verified):
    assert verified.problems == []


def test_the_known_duplicates_are_found_and_no_others(verified):
    assert sorted(sorted(group) for group in verified.exact) == [
        ["ISIC_0024366", "ISIC_0029861"],
        ["ISIC_0024777", "ISIC_0029938"],
    ]


def test_near_duplicates_under_two_lesion_ids_are_known_ones(verified, ham10000):
    """A list made by feature matching and by eye has them; ours must not see any that it does not."""
    known: dict[str, str] = {}
    with (ham10000 / "same_lesion_other_id.csv").open() as file:
        for row in csv.DictReader(file):
            known[row["image_id"]] = row["lesion_group"]
    table = read_table(ham10000).set_index("image_id")
    across = [
        pair for pair in verified.near if table.loc[pair[0], "lesion_id"] != table.loc[pair[1], "lesion_id"]
    ]
    assert {frozenset(pair) for pair in across} >= {frozenset({"ISIC_0025226", "ISIC_0030074"})}
    assert all(first in known and known[first] == known.get(second) for first, second in across)


def test_the_archives_table_is_read(data_root):
    table = read_table(data_root / "isic2018_val")
    assert Counter(table["dx"]) == {
        "nv": 123,
        "bkl": 22,
        "mel": 21,
        "bcc": 15,
        "akiec": 8,
        "vasc": 3,
        "df": 1,
    }
    assert table["lesion_id"].str.startswith("IL_").all()


def test_isic_2017_is_read(data_root):
    table = read_table(data_root / "isic2017")
    assert Counter(table["dx"]) == {"nv": 1837, "mel": 521, "bkl": 386}
    assert int(table["age"].isna().sum()) == 304


def test_pad_ufes_20_is_read_with_two_maps(data_root):
    table = read_table(data_root / "pad_ufes_20", columns=PAD_COLUMNS, labels=PAD_LABELS)
    assert Counter(table["dx"]) == {"bcc": 218, "nev": 185, "ack": 137, "sek": 136, "mel": 43, "scc": 26}
    assert Counter(table["sex"]) == {"unknown": 276, "female": 262, "male": 207}
    lesions, diagnosed = table["lesion_id"], zip(table["lesion_id"], table["dx"], strict=True)
    assert len(set(lesions)) == len(set(diagnosed)) == 667, "patient and lesion together are one lesion"
