"""The counts of `dermlens model list` against those that notebooks and keras.applications print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from dermlens.models.summary import cells, notes, render_table, summarise_models
from dermlens.models.table import BACKBONES

# name: trainable, total, as the authors' model.summary() printed them with metadata and without
WITH_METADATA = {
    "densenet201": (17_382_935, 17_596_250),
    "inception_resnet_v2": (47_599_671, 47_654_074),
    "resnet50": (24_407_063, 24_460_186),
    "resnet152": (50_160_663, 50_299_802),
    "nasnet_large": (78_389_773, 78_573_004),
    "nasnet_mobile": (3_922_873, 3_956_094),
    "mobilenet_v2": (1_334_039, 1_354_714),
    "mobilenet_v3_small": (979_239, 990_010),
    "mobilenet_v3_large": (2_646_679, 2_666_922),
}
IMAGE_ONLY = {
    "densenet201": (17_264_151, 17_477_463),
    "inception_resnet_v2": (47_480_887, 47_535_287),
    "resnet50": (23_858_199, 23_911_319),
    "resnet152": (49_611_799, 49_750_935),
    "nasnet_large": (78_270_989, 78_454_217),
    "nasnet_mobile": (3_804_089, 3_837_307),
    "mobilenet_v2": (1_215_255, 1_235_927),
    "mobilenet_v3_small": (860_455, 871_223),
    "mobilenet_v3_large": (2_527_895, 2_548_135),
    "vgg16": (62_642_263, 62_650_711),
}
REDUNDANT_BIASES = {"resnet50": 26_560, "resnet152": 69_568}
UNCUT = {
    "densenet201": 20_242_984,
    "inception_resnet_v2": 55_873_736,
    "resnet50": 25_636_712 - 26_560,
    "resnet152": 60_419_944 - 75_712,
    "nasnet_large": 88_949_818,
    "nasnet_mobile": 5_326_716,
    "mobilenet_v2": 3_538_984,
    "mobilenet_v3_small": 2_554_968,
    "mobilenet_v3_large": 5_507_432,
    "mobilenet": 4_253_864,
    "inception_v3": 23_851_784,
}
MAPS = {
    "densenet201": [7, 7, 128],
    "inception_resnet_v2": [8, 8, 192],
    "resnet50": [7, 7, 2048],
    "resnet152": [7, 7, 2048],
    "nasnet_large": [11, 11, 672],
    "nasnet_mobile": [7, 7, 176],
    "mobilenet_v2": [7, 7, 960],
    "mobilenet_v3_small": [7, 7, 576],
    "mobilenet_v3_large": [7, 7, 960],
    "vgg16": [28, 28, 512],
}
# the documentation of keras.applications; the paper's Table 4 differs for two
DEPTH = {
    "densenet201": 402,
    "inception_resnet_v2": 449,
    "resnet50": 107,
    "resnet152": 311,
    "nasnet_large": 533,
    "nasnet_mobile": 389,
    "mobilenet_v2": 105,
    "mobilenet_v3_small": 88,
    "mobilenet": 55,
    "inception_v3": 189,
}


@pytest.fixture(scope="module")
def rows():
    return summarise_models()


@pytest.fixture(scope="module")
def paper(rows):
    return {row["name"]: row for row in rows if row["cut"] == "paper"}


OF_OTHERS = {"inception_v3"}
"""Of reference [5], not of the article."""
LITE_SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
"""EfficientNet-Lite is not of the article; sizes as its authors give them."""


def test_every_cut_of_every_backbone_is_there_once(rows):
    names = [(row["name"], row["cut"]) for row in rows]
    assert len(names) == len(set(names))
    assert {name for name, cut in names if cut == "paper"} == set(MAPS)
    assert {name for name, cut in names if cut == "full"} == {*MAPS, *LITE_SIZES, *OF_OTHERS}
    assert {name for name, cut in names if cut == "plain"} == {*UNCUT, *LITE_SIZES}
    assert {name for name, _ in names} == set(BACKBONES)


@pytest.mark.parametrize("name", WITH_METADATA)
def test_published_configuration(paper, name):
    row, lacking = paper[name], REDUNDANT_BIASES.get(name, 0)
    trainable, total = WITH_METADATA[name]
    assert (row["published_trainable"], row["published_total"]) == (trainable, total)
    assert (row["trainable"], row["total"]) == (trainable - lacking, total - lacking)
    assert row["difference"] == lacking
    assert bool(row["reason"]) == bool(lacking)


@pytest.mark.parametrize("name", IMAGE_ONLY)
def test_published_image_only_configuration(paper, name):
    found, lacking = paper[name]["image_only"], REDUNDANT_BIASES.get(name, 0)
    trainable, total = IMAGE_ONLY[name]
    assert (found["trainable"], found["total"]) == (trainable - lacking, total - lacking)
    assert (found["published_trainable"], found["published_total"]) == (trainable, total)


def test_vgg16_row_is_the_image_only_network_that_the_authors_ran(paper):
    assert (paper["vgg16"]["trainable"], paper["vgg16"]["total"]) == IMAGE_ONLY["vgg16"]
    assert paper["vgg16"]["metadata"] == "none"


def test_plain_classifier_of_table_6(rows):
    (row,) = [row for row in rows if (row["name"], row["cut"]) == ("mobilenet_v3_large", "plain")]
    assert (row["trainable"], row["total"], row["difference"]) == (5_490_039, 5_514_439, 0)


@pytest.mark.parametrize("name", UNCUT)
def test_uncut_network_is_that_of_keras(rows, name):
    (row,) = [row for row in rows if (row["name"], row["cut"]) == (name, "plain")]
    assert row["uncut_total"] == UNCUT[name]
    assert row["total"] == UNCUT[name] + 7_007


@pytest.mark.parametrize("name", MAPS)
def test_feature_map_is_the_published_one(paper, name):
    assert paper[name]["feature_map"] == MAPS[name]


INPUT = {"inception_resnet_v2": 299, "inception_v3": 299, "nasnet_large": 331}


def test_input_is_the_published_one(rows):
    for row in rows:
        assert row["input"] == (INPUT | LITE_SIZES).get(row["name"], 224)


@pytest.mark.parametrize("name", DEPTH)
def test_depth_is_that_of_the_keras_documentation(rows, name):
    assert {row["depth"] for row in rows if row["name"] == name} == {DEPTH[name]}


def test_depth_that_differs_from_the_paper_is_explained(rows):
    for row in rows:
        differs = row["published_depth"] is not None and row["published_depth"] != row["depth"]
        assert differs == bool(row["depth_reason"]), row["name"]
        assert row["depth_at_cut"] <= row["depth"]


def test_rows_are_json_and_a_table(rows):
    assert json.loads(json.dumps(rows)) == rows
    text = render(rows)
    for row in rows:
        assert all(cell in text for cell in cells(row))
    assert "26,560 fewer" in text
    assert "69,568 fewer" in text


def test_documented_table_is_what_is_counted(rows):
    documented = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for row in rows:
        assert "| " + " | ".join(cells(row)) + " |" in documented
    for note in notes(rows):
        assert note in documented


def render(rows) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(render_table(rows))
    return capture.get()
