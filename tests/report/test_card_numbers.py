"""Every number of a card is the predictions' own, computed here without the code that wrote it."""

from __future__ import annotations

import copy
import re

import pandas as pd
import pytest
from calibrated import make_calibrated_run
from cards import check_card, role_of, sections, tables

from dermlens.files import read_json
from dermlens.report.card import write_card
from dermlens.report.detection_tables import card_net_benefit_table, net_benefit_table, suspicion_table
from dermlens.runs import Run

LOOKED_AT = {
    "Recall per class", "Recall in groups of patients", "Calibration", "Operating points",
    "Sets and abstention", "Known failures",
}  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A calibrated run whose test role was opened."""
    return make_calibrated_run(tmp_path_factory.mktemp("runs") / "opened")


def predictions_of(run: Run) -> pd.DataFrame:
    """Read without the code under test; a reason that is not there is no missing number."""
    return pd.read_csv(run.predictions_file, keep_default_na=False, na_values={"age": ""})


@pytest.mark.parametrize(
    "roles", [("selection", "calibration", "test"), ("selection", "calibration")], ids=len
)
def test_numbers_of_a_calibrated_run(opened, tmp_path, roles):
    run = opened if "test" in roles else make_calibrated_run(tmp_path / "sealed", roles=roles)
    card = write_card(run).read_text(encoding="utf-8")
    assert check_card(card, predictions_of(run), run.decision()) == LOOKED_AT
    benefit = tables(sections(card)["Operating points"])[-1]
    assert benefit["model"].str.contains(r"\[.+–.+\]").all()
    lead, judging = ("test", "test") if "test" in roles else ("calibration", "selection")
    for heading in ("Recall per class", "Recall in groups of patients", "Known failures"):
        assert role_of(sections(card)[heading]) == lead
    for heading in ("Calibration", "Operating points", "Sets and abstention"):
        assert role_of(sections(card)[heading]) == judging


def test_numbers_by_source_and_skin_tone_where_they_are_known(tmp_path):
    run = make_calibrated_run(tmp_path / "toned", toned=True)
    card = write_card(run).read_text(encoding="utf-8")
    assert "skin_tone" in predictions_of(run)
    assert check_card(card, predictions_of(run), run.decision()) == LOOKED_AT
    (by_tone,) = [table for table in tables(sections(card)["Operating points"]) if "skin tone" in table]
    for cell in (by_tone["malignant flagged"], by_tone["benign flagged"]):
        assert cell.str.fullmatch(r"[01]\.\d\d \[[01]\.\d\d–[01]\.\d\d\]").all()


def test_numbers_of_a_run_without_a_decision(new_run, tmp_path):
    run = new_run(tmp_path / "plain", images=900)
    card = write_card(run).read_text(encoding="utf-8")
    assert check_card(card, predictions_of(run)) == LOOKED_AT - {"Calibration", "Sets and abstention"}


def test_scores_of_before_give_no_net_benefit_in_a_card(opened):
    """A card gives it with intervals or not at all; everything else of an older file is as it was."""
    scores = read_json(opened.metrics_file)["roles"]["test"]
    assert card_net_benefit_table(scores) is not None
    without = copy.deepcopy(scores)
    for found in without["detection"].values():
        for point in found["net_benefit"]:
            del point["low"], point["high"]
    assert card_net_benefit_table(without) is None
    table = net_benefit_table(without)
    assert table is not None
    assert not any("[" in cell for row in table.rows for cell in row)
    for mark in without["suspicion"]["marks"]:
        assert mark["ppv_interval"].keys() == mark["ppv"].keys()
        for at, value in mark["ppv"].items():
            assert mark["ppv_interval"][at]["low"] <= value <= mark["ppv_interval"][at]["high"]
        mark.pop("ppv_interval")
    assert not any("%" in cell and "[" in cell for row in suspicion_table(without).rows for cell in row)


def test_the_oracle_sees_a_wrong_number(opened):
    """What checks the cards must not pass whatever it is given."""
    found = sections(write_card(opened).read_text(encoding="utf-8"))
    predictions, decision = predictions_of(opened), opened.decision()
    seen = 0
    for heading in LOOKED_AT:
        for table in tables(found[heading]):
            cells = [cell for row in table.to_numpy() for cell in row[1:] if re.match(r"[01]\.\d", cell)]
            if cells:
                changed = found[heading].replace(cells[-1], f"9{cells[-1]}")
                with pytest.raises(AssertionError):
                    check_card(f"## {heading}\n{changed}", predictions, decision)
                seen += 1
    assert seen == 1 + 3 + 2 + 5 + 1 + 2
