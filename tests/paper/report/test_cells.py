"""How a number of ours stands to a printed one, and the printed ones to their notebooks."""

from __future__ import annotations

import pytest

from dermlens.errors import UserError
from paper.report.cells import Measured, agreement, read_cells, rounds_to
from paper.report.ours import Ours, of_related, ours_by_work, read_related
from related.study import load_study


@pytest.mark.parametrize(
    ("value", "printed", "agrees"),
    [
        (0.8986, "0.90", True),
        (0.8645, "0.84", False),
        (0.865, "0.86", True),  # a half goes either way
        (0.865, "0.87", True),
        (0.8649, "0.87", False),
        (5490039, "5490039", True),
        (5490038, "5490039", False),
        (0.9751, "0.975", True),
        (97.69, "98", True),
    ],
)
def test_rounding(value, printed, agrees):
    assert rounds_to(value, printed) is agrees


@pytest.mark.parametrize(
    ("ours", "printed", "metric", "expected"),
    [
        (Ours(0.8986), "0.90", "accuracy", "equal"),
        (Ours(0.885, low=0.86, high=0.91), "0.90", "accuracy", "near"),  # in our interval
        (Ours(0.885), "0.90", "accuracy", "near"),  # 1.5 points; 1.96 standard errors are 1.86
        (Ours(0.88), "0.90", "accuracy", "other"),
        (Ours(0.70, low=0.67, high=0.73), "0.90", "accuracy", "other"),
        (Ours(0.90, short="6 of 63 epochs"), "0.90", "accuracy", "short"),
        (Ours(2646679), "5490039", "trainable_parameters", "other"),
        (Ours(1444.0), "116", "seconds_per_epoch", ""),  # of another machine
    ],
)
def test_agreement(ours, printed, metric, expected):
    assert agreement(ours, printed, metric, 996) == expected


def test_without_anything_measured_every_cell_says_what_it_needs():
    measured = Measured({}, {}, {}, {}, {})
    cells = read_cells(measured, 996)
    assert all(cell.ours is None and cell.ours_agrees == "" for cell in cells)
    assert {cell.table for cell in cells} == {
        f"table_{name}" for name in ("2", "4", "5", "6", "7", "8", "9", "a3", "a4", "a5")
    }


def test_the_known_differences_between_print_and_notebook_are_found():
    """What the reading of the notebooks found by hand (their values, two digits as printed)."""
    cells = {
        (cell.table, cell.row, cell.column): cell for cell in read_cells(Measured({}, {}, {}, {}, {}), 996)
    }
    md = "metadata + weighted loss"
    assert cells["table_5", "NASNetLarge", md].notebook_agrees == "other"
    assert cells["table_5", "NASNetMobile", "augmented data"].notebook_agrees == "other"
    assert cells["table_5", "InceptionResNetV2", md].notebook_agrees == "equal"
    assert cells["table_9", "the paper's InceptionResNetV2", "precision"].notebook_agrees == "other"
    for row in ("ResNet152", "NASNetLarge", "MobileNetV2", "MobileNetV3Large", "NASNetMobile"):
        assert cells["table_a3", f"{row} MD", "vasc"].notebook_agrees == "other", row
    assert cells["table_6", "DenseNet201", "trainable parameters"].notebook_agrees == "equal"


def test_related_systems_stand_beside_what_was_printed_without_a_verdict():
    """Their images are others: an equal number would say nothing."""
    related = {
        ("crckd", "accuracy"): Ours(0.85, low=0.83, high=0.87, seeds=2),
        ("garg-backbone-svm", "accuracy"): Ours(0.74),
    }
    measured = Measured({}, {}, {}, {}, {}, related)
    cells = {(cell.table, cell.row, cell.column): cell for cell in read_cells(measured, 996)}
    crckd = cells["table_9", "[2] student and teacher", "accuracy"]
    assert (crckd.printed, crckd.ours, crckd.ours_agrees) == ("0.85", related["crckd", "accuracy"], "")
    assert "other images" in crckd.note
    weighted = cells["table_9", "[3]", "recall"]  # weighted by the images of a class it is the accuracy
    assert weighted.ours.value == 0.74
    assert cells["table_9", "[2] student and teacher", "precision"].needs == "not run"


def test_every_related_system_of_the_tables_is_one_of_the_comparison():
    known = load_study().systems
    named = {cell.system for cell in read_cells(Measured({}, {}, {}, {}, {}), 996)}
    named = {name.removeprefix("related/") for name in named if name.startswith("related/")}
    assert named
    assert named <= set(known)


def test_a_published_table_is_read_and_a_damaged_one_refused(tmp_path):
    results = tmp_path / "paper"
    assert read_related(results) == {}
    folder = tmp_path / "related"
    folder.mkdir()
    rows = "system,metric,value,low,high,seeds\ncrckd,mean_recall,0.7,0.6,0.8,2\nnevus,accuracy,0.67,,,1\n"
    (folder / "table.csv").write_text(rows)
    found = read_related(results)
    assert found["crckd", "mean_recall"] == Ours(0.7, None, 0.6, 0.8, 2)
    assert found["nevus", "accuracy"].low is None
    assert of_related(found, "related/crckd", "macro_recall") == found["crckd", "mean_recall"]
    (folder / "singletons").mkdir()
    (folder / "singletons" / "table.csv").write_text(rows.replace("crckd", "alone"))
    assert read_related(results)["alone", "mean_recall"] == found["crckd", "mean_recall"]
    (folder / "table.csv").write_text(rows.replace("0.7", "much"))
    with pytest.raises(UserError, match="column value: not a number"):
        read_related(results)


def test_every_work_says_what_was_run_of_it():
    output = ours_by_work({("crckd", "mean_recall"): Ours(0.7, low=0.6, high=0.8)})
    assert set(output) == {system.cites for system in load_study().systems.values() if system.cites}
    assert "crckd 0.700 [0.60–0.80]" in output["[2]"].split("; ")
    assert "crckd-mt not run" in output["[2]"].split("; ")
