"""Jaccard by hand and against scikit-learn; a U-Net that learns, and is exported as it is."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from segmenters import SIDE, graph
from sklearn.metrics import jaccard_score

from dermlens.data.config import SplitConfig
from dermlens.errors import UserError
from dermlens.predict.segmenter import Segmenter, from_square, to_square
from dermlens.sections import EvaluationConfig
from related.jaccard import jaccard, jaccard_scores
from related.segmentation import (
    LesionUNet,
    SegmentationRecipe,
    export_unet,
    load_unet,
    mask_loss,
    predict_masks,
    save_encoder,
    save_unet,
    train_unet,
    turned_together,
)
from related.study import load_study, read_recipe

QUICK = EvaluationConfig(bootstrap=50)


def disc(side, radius, centre):
    rows, columns = np.mgrid[:side, :side]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def test_jaccard_is_scikit_learns_and_of_two_empty_masks_one():
    rng = np.random.default_rng(0)
    found, truth = rng.random((2, 5, 8, 8)) < 0.4
    ours = jaccard(found, truth)
    np.testing.assert_allclose(
        ours, [jaccard_score(t.ravel(), f.ravel()) for f, t in zip(found, truth, strict=True)]
    )
    assert jaccard(np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4), bool)) == 1
    assert jaccard(np.ones((1, 4, 4), bool), np.zeros((1, 4, 4), bool)) == 0


def test_a_lesion_counts_once_and_less_than_065_counts_as_nothing():
    """Lesion a has 0.9 and 0.5, b 0.8, by hand: 0.75 and (0.45 + 0.8) / 2."""
    scores = jaccard_scores(np.array([0.9, 0.5, 0.8]), np.array(["a", "a", "b"]), QUICK)
    assert scores["jaccard"]["value"] == pytest.approx((0.7 + 0.8) / 2)
    assert scores["thresholded"]["value"] == pytest.approx((0.45 + 0.8) / 2)
    at = jaccard_scores(np.array([0.65, 0.649]), np.array(["a", "b"]), QUICK)
    assert at["thresholded"]["value"] == pytest.approx(0.325)
    assert 0.7 - 1e-9 <= scores["jaccard"]["low"] < scores["jaccard"]["high"] <= 0.8 + 1e-9


def test_images_and_masks_are_turned_alike():
    rng = np.random.default_rng(1)
    mask = (rng.random((2, 6, 6)) > 0.5).astype(np.uint8) * 255
    for _ in range(8):
        x, y = turned_together(np.repeat(mask[..., None], 3, axis=3), mask, rng)
        np.testing.assert_array_equal(x[..., 1], y)


def test_mask_loss_by_hand():
    """Logits of 0 on four pixels, one of which is lesion: ln 2 and 1 − (2·½ + 1)/(2 + 1 + 1)."""
    truth = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]).double()
    found = mask_loss(torch.zeros(1, 2, 2).double(), truth)
    assert found.item() == pytest.approx(np.log(2) + 1 - 2 / 4, abs=1e-12)
    sure = mask_loss(60 * (2 * truth - 1), truth)
    assert sure.item() == pytest.approx(0, abs=1e-9)


def test_every_recipe_reads(tmp_path):
    folder = next(iter(load_study().systems.values())).recipe.parent / "unet"
    recipes = {path.stem: read_recipe(SegmentationRecipe, path) for path in folder.glob("*.yaml")}
    assert recipes["both_heads"].classes == 7
    assert recipes["mahbod_448"].size == 448
    assert (recipes["wonderm_600"].size, recipes["wonderm_600"].shape) == (608, "pad")


def needs_the_extra():
    pytest.importorskip("segmentation_models_pytorch", reason="the extra segment is not installed")


@pytest.fixture(scope="module")
def discs():
    """Bright discs on dark skin and their masks; the class is the side that the disc lies on."""
    rng = np.random.default_rng(0)
    centres = rng.integers(20, 44, (24, 2))
    masks = np.stack([disc(64, 12, centre) for centre in centres])
    images = np.where(masks[..., None], 200, 50) + rng.integers(0, 20, (24, 64, 64, 3))
    return images.astype(np.uint8), masks.astype(np.uint8) * 255, (centres[:, 1] > 31).astype(np.int64)


def small(**keys):
    return SegmentationRecipe(
        **({"name": "tiny", "size": 64, "epochs": 5, "batch_size": 4, "lr": 3e-3} | keys)
    )


def test_a_unet_learns_discs_and_its_export_is_the_network(discs, tmp_path):
    needs_the_extra()
    images, masks, target = discs
    network = train_unet(
        small(classes=2),
        lambda rows: (images[rows], masks[rows], target[rows]),
        np.arange(16),
        lambda _: None,
    )
    found = predict_masks(network, images[16:])
    assert jaccard(found > 0, masks[16:] > 0).mean() > 0.6
    save_unet(network, small(classes=2), tmp_path / "unet")
    again, recipe = load_unet(tmp_path / "unet")
    np.testing.assert_array_equal(predict_masks(again, images[16:]), found)
    document = export_unet(again, recipe, tmp_path / "unet", images[:4], trained_on="16 discs", measured=None)
    assert document.largest_difference < 1e-4
    segmenter = Segmenter.load(tmp_path / "unet")
    assert segmenter.document == document
    probabilities = segmenter.probabilities(images[16:])
    np.testing.assert_array_equal(np.where(probabilities > 0.5, 255, 0), found)
    with torch.inference_mode():
        logits = again(torch.from_numpy(images[16:]))[0]
    np.testing.assert_allclose(probabilities, torch.sigmoid(logits).numpy(), atol=1e-4)
    np.testing.assert_array_equal(segmenter(images[16]), found[0])


def test_an_export_that_is_not_the_network_is_not_written(tmp_path, monkeypatch):
    """In the place of torch's exporter: a network that finds what is dark."""
    needs_the_extra()
    other = onnx.load_model_from_string(graph())
    monkeypatch.setattr("related.segmentation.onnx_graph", lambda *_: other)
    recipe = small(size=SIDE)
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    with pytest.raises(RuntimeError, match="off by"):
        export_unet(
            LesionUNet(recipe).eval(), recipe, tmp_path / "unet", pixels, trained_on="nothing", measured=None
        )
    assert not (tmp_path / "unet").exists()


def test_an_encoder_is_handed_over_and_the_rest_of_the_start_stays(tmp_path):
    needs_the_extra()
    import timm

    whole = timm.create_model("tf_mobilenetv3_small_100").state_dict()
    save_file(whole, tmp_path / "start.safetensors")
    network = LesionUNet(small(start=str(tmp_path / "start.safetensors")))
    own = network.unet.encoder.model.state_dict()
    torch.testing.assert_close(own["conv_stem.weight"], whole["conv_stem.weight"])
    with torch.no_grad():
        network.unet.encoder.model.get_parameter("conv_stem.weight").add_(1)
    save_encoder(network, tmp_path / "start.safetensors", tmp_path / "after.safetensors")
    after = load_file(tmp_path / "after.safetensors")
    assert set(after) == set(whole)
    torch.testing.assert_close(after["conv_stem.weight"], whole["conv_stem.weight"] + 1)
    torch.testing.assert_close(after["classifier.weight"], whole["classifier.weight"])
    save_file({"other": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    with pytest.raises(UserError, match="it is no start of"):
        LesionUNet(small(start=str(tmp_path / "wrong.safetensors")))


def test_the_forms_of_the_articles_run():
    """448 squashed and 600 padded: one image through each, from random weights."""
    needs_the_extra()
    folder = next(iter(load_study().systems.values())).recipe.parent / "unet"
    for name in ("mahbod_448", "wonderm_600"):
        recipe = read_recipe(SegmentationRecipe, folder / f"{name}.yaml")
        image = np.zeros((450, 600, 3), np.uint8)
        square = to_square(image, image.shape[:2], recipe.size, recipe.shape)
        mask = predict_masks(LesionUNet(recipe).eval(), square[None])[0]
        assert from_square(mask / 255, (450, 600), recipe.shape).shape == (450, 600)


def test_a_folder_without_masks_is_refused(data, cache, tmp_path):
    from related.unet import fit_unet

    path = tmp_path / "tiny.yaml"
    path.write_text("{name: tiny, size: 32, epochs: 1}")
    bare = shutil.copytree(data, tmp_path / "bare", ignore=lambda *_: ["masks"])
    split = SplitConfig(protocol="grouped", test=0.15, folds=3)
    with pytest.raises(UserError, match="no mask"):
        fit_unet(path, bare, tmp_path / "out", split=split, cache=cache)


def test_what_is_trained_is_scored_exported_and_read_by_the_verb(data, cache, tmp_path, dermlens):
    needs_the_extra()
    from related.unet import fit_unet

    path = tmp_path / "tiny.yaml"
    path.write_text("{name: tiny, size: 32, epochs: 1, batch_size: 16}")
    split = SplitConfig(protocol="grouped", test=0.15, folds=3)
    scores = fit_unet(path, data, tmp_path / "out", split=split, cache=cache, say=lambda _: None)
    document = json.loads((tmp_path / "out" / "segmenter.json").read_text())
    measured = document["measured"]
    assert {name: measured[name] for name in ("jaccard", "thresholded")} == scores
    with (tmp_path / "out" / "jaccard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert measured["images"] == len(rows)
    assert measured["lesions"] == len({row["lesion_id"] for row in rows})
    image = next(Path(data).rglob("*.jpg"))
    code, _, _ = dermlens("segment", image, "--model", tmp_path / "out", "--out", tmp_path / "masks")
    assert code == 0
    assert (tmp_path / "masks" / f"{image.stem}_segmentation.png").is_file()
