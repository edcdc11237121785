"""Every network, as published, trains a step and predicts on real images at its own size."""

from __future__ import annotations

import csv

import pytest
import torch
import torch.nn.functional as F

from dermlens.labels import CLASSES
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.models.table import BACKBONES
from dermlens.predict.metadata import make_encoder
from dermlens.predict.pictures.preprocessing import crop_resize, read_image

pytestmark = pytest.mark.realdata

CASES = [(name, next(iter(row.cuts), "plain")) for name, row in BACKBONES.items()] + [
    ("mobilenet_v3_large", "plain")
]


@pytest.fixture(scope="module")
def lesions(ham10000):
    """A melanoma and a nevus: rows of the table and pixels."""
    with (ham10000 / "HAM10000_metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pair = [next(row for row in rows if row["dx"] == dx and row["age"]) for dx in ("mel", "nv")]
    return pair, [read_image(ham10000 / "images" / f"{row['image_id']}.jpg") for row in pair]


@pytest.mark.parametrize(("name", "cut"), CASES)
def test_trains_a_step_and_predicts(name, cut, lesions):
    torch.manual_seed(0)
    rows, images = lesions
    columns = [[row[key] for row in rows] for key in ("sex", "localization")]
    ages = [float(row["age"]) for row in rows]
    encoder = make_encoder("paper").fit(ages, *columns)
    meta_BM = torch.from_numpy(encoder.encode(ages, *columns))
    parts = {"attention": "none", "metadata": "none"} if cut == "plain" else {"attention": "original"}
    config = ModelConfig.model_validate({"backbone": name, "cut": cut} | parts)
    model = build_classifier(config, num_classes=len(CLASSES), meta_width=encoder.width)
    pixels = [torch.from_numpy(crop_resize(image, model.size, "center")) for image in images]
    x_BCHW = torch.stack(pixels).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    target_B = torch.tensor([CLASSES.index(row["dx"]) for row in rows])

    model = model.to(memory_format=torch.channels_last)
    before = model.head.linear.weight.detach().clone()
    loss = F.cross_entropy(model(x_BCHW, meta_BM)[0], target_B)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert torch.isfinite(loss)
    assert not torch.equal(model.head.linear.weight, before)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())

    model.eval()
    with torch.inference_mode():
        logits_BC, found = model(x_BCHW, meta_BM)
    assert logits_BC.shape == (2, 7)
    assert torch.isfinite(logits_BC).all()
    if cut != "plain":
        torch.testing.assert_close(found["alpha_BKHW"].sum((1, 2, 3)), torch.full((2,), 16.0))
        assert not torch.equal(found["features_BD"][0], found["features_BD"][1])
