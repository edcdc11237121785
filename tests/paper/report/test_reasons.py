"""Why cells of Tables 4 and 6 disagree: each reason that a note gives is followed here."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from dermlens.models.cuts import build_backbone
from dermlens.models.summary import count
from dermlens.models.table import BACKBONES
from paper.report.cells import UNCUT, read_cells, read_measured, rounds_to

PUBLISHED = Path(__file__).parents[3] / "docs" / "results" / "paper"
KERAS_SIZES = {
    "resnet50": 98, "resnet152": 232, "densenet201": 80, "inception_resnet_v2": 215, "mobilenet": 16,
    "mobilenet_v2": 14, "nasnet_mobile": 23, "nasnet_large": 343,
}  # fmt: skip
"""Megabytes, as the list of models in Keras's documentation has them (keras.io/api/applications)."""


@pytest.fixture(scope="module")
def cells():
    """By table, row and column, with what is published of ours."""
    found = read_cells(read_measured(PUBLISHED), 996)
    return {(cell.table, cell.row, cell.column): cell for cell in found}


def test_every_count_that_disagrees_has_a_note(cells):
    apart = [
        cell
        for cell in cells.values()
        if cell.table in ("table_4", "table_6") and "other" in (cell.ours_agrees, cell.notebook_agrees)
    ]
    assert len(apart) > 8
    assert [(cell.row, cell.column) for cell in apart if not cell.note] == []


def test_sizes_are_of_the_documentation_and_follow_from_no_count_of_parameters(cells):
    noted = 0
    for (table, _, column), cell in cells.items():
        if table != "table_4" or column != "size in MB" or not cell.printed:
            continue
        backbone = cell.system.removeprefix(f"{UNCUT}/")
        assert int(cell.printed) == KERAS_SIZES[backbone]
        size = 4 * BACKBONES[backbone].published.uncut
        if cell.note:
            assert cell.note.startswith("Keras's documentation")
            assert not rounds_to(size / 2**20, cell.printed)
            assert not rounds_to(size / 10**6, cell.printed)
            noted += 1
        else:
            assert rounds_to(size / 2**20, cell.printed)
    assert noted == 5


def test_the_parameters_of_mobilenet_v3_small_are_cut(cells):
    cell = cells["table_4", "MobileNetV3Small", "parameters in millions"]
    counted = BACKBONES["mobilenet_v3_small"].published.uncut
    assert f"{counted:,}" in cell.note
    assert math.floor(counted / 1e5) / 10 == float(cell.printed)
    assert not rounds_to(counted / 1e6, cell.printed)


def test_the_parameters_of_resnet152_lack_the_biases_of_its_convolutions(cells):
    note = cells["table_4", "ResNet152", "parameters in millions"].note
    with torch.device("meta"):
        network = build_backbone("resnet152", "plain")
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    biases = sum(module.out_channels for module in convolutions)
    assert all(module.bias is None for module in convolutions)
    assert f"{biases:,} biases" in note
    assert f"Keras counts {count(network)[1] + biases:,}:" in note
    assert count(network)[1] + biases == BACKBONES["resnet152"].published.uncut


def test_the_depths_count_layers_with_weights_but_for_two(cells):
    depths = {
        row: cell for (table, row, column), cell in cells.items() if (table, column) == ("table_4", "depth")
    }
    apart = {row for row, cell in depths.items() if cell.ours_agrees != "equal"}
    assert apart == {"MobileNetV3Large", "NASNetMobile"}
    with torch.device("meta"):
        network = build_backbone("mobilenet_v3_large", "plain")
    weighted = [module for module in network.modules() if [*module.parameters(recurse=False)]]
    norms = sum("Norm" in type(module).__name__ for module in weighted)
    assert f"{len(weighted)} here: {len(weighted) - norms} convolutions and {norms} batch norms" in (
        depths["MobileNetV3Large"].note
    )
    assert f"{len(weighted)} here" in cells["table_6", "MobileNetV3Large", "depth"].note
