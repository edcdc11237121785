"""The paper's printed numbers and its notebooks', against what was typed from the article another time."""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from paper.report.cells import rounds_to
from paper.study import load_systems

FOLDER = files("paper").joinpath("printed")


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(FOLDER.joinpath(name).read_text(encoding="utf-8").splitlines()))


TABLES = rows("tables.csv")
NOTEBOOKS = {row["notebook"]: row for row in rows("notebooks.csv")}
CELLS = {(row["table"], row["row"], row["column"]): row for row in TABLES}
AD, MD = "augmented data", "metadata + weighted loss"


@pytest.mark.parametrize(
    ("table", "row", "column", "printed", "notebook"),
    [
        ("2", "mel", "images", "1113", ""),
        ("2", "total", "images", "10015", ""),
        ("4", "DenseNet201", "depth", "402", ""),
        ("4", "NASNetLarge", "parameters in millions", "88.9", ""),
        ("4", "MobileNetV3Small", "size in MB", "", ""),
        ("5", "InceptionResNetV2", MD, "0.90", "MD-IR-10"),
        ("5", "InceptionResNetV2", AD, "0.79", "AD-IR"),
        ("5", "ResNet152", MD, "0.57", "MD-R152"),
        ("5", "NASNetLarge", AD, "", "AD-NL"),
        ("5", "MobileNetV3Large", MD, "0.86", "MD-V3L-34"),
        ("6", "MobileNetV3Large", "trainable parameters", "5490039", "MD-V3L-34"),
        ("6", "InceptionResNetV2", "time prediction, s/epoch", "3500", "MD-IR-10"),
        ("7", "InceptionResNetV2", MD, "0.975", "MD-IR-10"),
        ("7", "ResNet50", AD, "0.95", "AD-R50"),
        ("7", "NASNetMobile", MD, "0.97", "MD-NM"),
        ("8", "InceptionResNetV2", "no weight", "0.74", "MD-IR-NW"),
        ("8", "DenseNet201", "original", "0.84", "AD-DN"),
        ("8", "MobileNetV3Large", "new", "0.86", "MD-V3L-34"),
        ("9", "the paper's InceptionResNetV2", "precision", "0.86", "MD-IR-10"),
        ("9", "[14] InceptionResNetV2 + SA", "recall", "0.71", ""),
        ("9", "[12]", "accuracy", "0.86", ""),
        ("a3", "DenseNet201 AD", "vasc", "0.85", "AD-DN"),
        ("a3", "VGG16 AD", "mean", "0.54", "AD-VGG"),
        ("a3", "ResNet152 MD", "df", "0.15", "MD-R152"),
        ("a4", "MobileNetV3Small MD", "df", "1.00", "MD-V3S"),
        ("a4", "NASNetLarge MD", "mel", "0.59", "MD-NL"),
        ("a5", "MobileNetV2", "balanced accuracy", "0.86", "MD-M2"),
        ("a5", "NASNetMobile", "ROC AUC", "0.97", "MD-NM"),
    ],
)
def test_cells_as_in_the_article(table, row, column, printed, notebook):
    found = CELLS[f"table_{table}", row, column]
    assert (found["printed"], found["notebook"]) == (printed, notebook)


def test_there_is_one_row_a_cell_and_all_names_exist():
    assert len(CELLS) == len(TABLES)
    known = set(load_systems())
    for row in TABLES:
        assert row["system"] in {"", *known} or row["system"].startswith(("uncut/", "related/")), row
        assert row["notebook"] == "" or row["notebook"] in NOTEBOOKS, row


@pytest.mark.parametrize("row", [row for row in TABLES if row["notebook"]], ids=lambda row: row["row"])
def test_what_a_notebook_says_is_what_is_kept_of_it(row):
    column = row["notebook_metric"] or row["metric"]
    if column in NOTEBOOKS[row["notebook"]]:
        assert row["notebook_value"] == NOTEBOOKS[row["notebook"]][column]
    else:
        assert column in ("trainable_parameters", "seconds_per_epoch")


def test_the_confusion_matrices_add_up_to_the_notebooks_own_numbers():
    for notebook, accuracy in (("MD-DN-LR", 0.8765), ("MD-IR-LR", 0.8886)):
        own = [row for row in rows("confusions.csv") if row["notebook"] == notebook]
        classes = [row["true"] for row in own]
        total = sum(int(row[code]) for row in own for code in classes)
        right = sum(int(row[row["true"]]) for row in own)
        assert total == 996
        assert right / total == pytest.approx(accuracy, abs=5e-5)
        for row in own:
            recall = int(row[row["true"]]) / sum(int(row[code]) for code in classes)
            assert rounds_to(recall, NOTEBOOKS[notebook][f"recall_{row['true']}"])
