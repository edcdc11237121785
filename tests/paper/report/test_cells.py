"""How a number of ours stands to a printed one, and the printed ones to their notebooks."""

from __future__ import annotations

import pytest

from paper.report.cells import Measured, Ours, agreement, read_cells, rounds_to


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
