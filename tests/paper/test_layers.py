"""Tables A1 and A2: the layers that are counted add up to what the authors printed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dermlens.models.table import BACKBONES
from paper.layers import layers_of, read_layers
from paper.report.schemas import LARGE, MOBILE, draw_schemas

PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "paper"


@pytest.mark.parametrize("name", [*LARGE, *MOBILE])
def test_the_published_layers_add_up_to_the_printed_total(name):
    layers, row = read_layers(PUBLISHED), BACKBONES[name]
    printed = row.published.metadata or row.published.image_only
    own = layers[layers["backbone"] == name]
    assert own["parameters"].sum() + row.lacks.get("paper", 0) == printed[1]


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "vgg16"])
def test_the_published_layers_are_those_of_the_networks(name):
    layers = read_layers(PUBLISHED)
    own = layers[layers["backbone"] == name].reset_index(drop=True)
    pd.testing.assert_frame_equal(layers_of(name), own, check_dtype=False)


def test_schemas_show_the_sizes_that_were_counted():
    layers = read_layers(PUBLISHED)
    drawn = draw_schemas(layers)
    assert sorted(drawn) == [f"figure_{number}" for number in range(2, 8)]
    for name, networks in (("figure_3", LARGE), ("figure_4", MOBILE)):
        words = " ".join(text.get_text() for text in drawn[name][0].axes[0].texts)
        for network in networks:
            own = layers[layers["backbone"] == network].set_index("part")
            assert network in words
            assert own.loc["Soft-Attention", "output"] in words
            total = own[own.index.str.startswith("backbone")]["parameters"].sum()
            assert f"{total:,} parameters" in words
