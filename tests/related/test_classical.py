"""Features by hand and against torchvision; Gower's distance by hand; what every pipeline gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import equalize

from dermlens.errors import UserError
from related.classical import (
    ClassicalRecipe,
    colour_histograms,
    equalised_luminance,
    features,
    pipeline,
    probabilities,
    small_pixels,
)
from related.study import read_recipe


@pytest.fixture
def images():
    """Two images of smooth colours of no full range."""
    rng = np.random.default_rng(4)
    return (60 + 40 * rng.random((2, 16, 16, 3))).astype(np.uint8)


def recipe(**keys):
    return ClassicalRecipe(**({"name": "one", "features": "pixels", "classifier": "prior"} | keys))


def test_equalised_luminance_is_torchvisions_and_colours_stay(images):
    ours = equalised_luminance(images)
    for before, after in zip(images, ours, strict=True):
        y, *chroma = (np.asarray(part) for part in Image.fromarray(before).convert("YCbCr").split())
        merged = np.stack([equalize(torch.from_numpy(y.copy())[None])[0].numpy(), *chroma], axis=-1)
        np.testing.assert_array_equal(after, np.asarray(Image.fromarray(merged, "YCbCr").convert("RGB")))
    assert np.ptp(ours) > np.ptp(images)


def test_pixels_are_means_of_blocks():
    x_1SS3 = np.zeros((1, 4, 4, 3), np.uint8)
    x_1SS3[0, :2, 2:, 1] = [[255, 0], [255, 0]]
    found = small_pixels(x_1SS3, 2).reshape(2, 2, 3)
    expected = np.zeros((2, 2, 3))
    expected[0, 1, 1] = 0.5
    np.testing.assert_allclose(found, expected)


def test_histograms_count_hue_saturation_and_value():
    x_1SS3 = np.zeros((1, 2, 2, 3), np.uint8)
    x_1SS3[0, 0] = (255, 0, 0)  # hue 0, saturation and value at their largest
    found = colour_histograms(x_1SS3, 2).reshape(2, 2, 2)
    assert found[0, 1, 1] == 0.5  # two red pixels
    assert found[0, 0, 0] == 0.5  # and two black ones
    assert found.sum() == 1


def test_histograms_do_not_look_at_places(images):
    rng = np.random.default_rng(0)
    shuffled = images.reshape(2, -1, 3)[:, rng.permutation(256)].reshape(images.shape)
    np.testing.assert_array_equal(colour_histograms(images, 4), colour_histograms(shuffled, 4))


def test_neighbours_are_gowers():
    """(1/F)·Σ|x_i − y_i|/range_i over the training images, by hand: the order of neighbours is the same."""
    rng = np.random.default_rng(1)
    train_NF, test_NF = rng.random((12, 3)) * [1, 100, 0.01], rng.random((5, 3)) * [1, 100, 0.01]
    target_N = np.arange(12)
    one = recipe(features="histogram", classifier="nearest", settings={"n_neighbors": 1})
    found_N = pipeline(one, 0).fit(train_NF, target_N).predict(test_NF)
    span_F = np.ptp(train_NF, axis=0)
    gower_NN = (np.abs(test_NF[:, None] - train_NF) / span_F).mean(axis=2)
    np.testing.assert_array_equal(found_N, gower_NN.argmin(axis=1))


@pytest.mark.parametrize("classifier", ["forest", "boosting", "svm", "nearest", "prior"])
def test_every_pipeline_gives_probabilities_of_all_classes(classifier):
    """A class that was never trained on has 0, and the class named is scikit-learn's own."""
    rng = np.random.default_rng(2)
    target_N = np.repeat([0, 2, 3], 20)
    features_NF = rng.normal(size=(60, 6)) + 2 * target_N[:, None]
    settings = {"forest": {"n_estimators": 5}, "boosting": {"max_iter": 5}}.get(classifier, {})
    fitted = pipeline(recipe(classifier=classifier, settings=settings, components=4), 0)
    fitted.fit(features_NF, target_N)
    p_NC = probabilities(fitted, features_NF, 5)
    np.testing.assert_allclose(p_NC.sum(axis=1), 1)
    assert (p_NC[:, [1, 4]] == 0).all()
    if classifier == "nearest":  # its vote has ties
        return
    np.testing.assert_array_equal(p_NC.argmax(axis=1), fitted.predict(features_NF))


def test_a_support_vector_machine_of_two_classes():
    features_NF, target_N = np.array([[-2.0], [-1], [1], [2]]), np.array([0, 0, 1, 1])
    fitted = pipeline(recipe(classifier="svm"), 0).fit(features_NF, target_N)
    assert probabilities(fitted, features_NF, 2).argmax(axis=1).tolist() == [0, 0, 1, 1]


def test_features_of_a_frozen_network_are_of_each_image_alone(images):
    own = recipe(features="backbone", weights="none", cached=32)
    x_NSS3 = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    both, one = features(x_NSS3, own), features(x_NSS3[1:], own)
    assert both.shape == (2, 576)
    np.testing.assert_allclose(both[1:], one, rtol=1e-4, atol=1e-5)


def test_a_recipe_is_read_strictly(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nfeatures: pixels\nclasifier: svm\nclassifier: svm\n")
    with pytest.raises(UserError, match=r"mine.yaml, line 3.*clasifier.*classifier"):
        read_recipe(ClassicalRecipe, path)
    path.write_text("{name: mine, features: pixels, cached: 30, side: 28, classifier: svm}")
    with pytest.raises(UserError, match="side 28"):
        read_recipe(ClassicalRecipe, path)
    with pytest.raises(UserError, match="settings of forest"):
        pipeline(recipe(classifier="forest", settings={"trees": 3}), 0)
