"""Systems without a trained network: features of an image, and a scikit-learn classifier on them.

Garg et al. 2019 (arXiv 1912.03798) equalise the luminance and give the images to a random forest, gradient
boosting and a support vector machine; Fekri-Ershad et al. 2012 (arXiv 1207.1551) compare colour histograms by
Gower's distance. What a recipe of them may say is `ClassicalRecipe`.

Shapes: N images, S side of the cached square, 3 red, green and blue, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field, PositiveInt, model_validator
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from dermlens.documents import Section
from dermlens.errors import UserError
from related.masks import Use, masked

if TYPE_CHECKING:
    from dermlens.models.classifier import LesionClassifier

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]

Classifier = Literal["forest", "boosting", "svm", "nearest", "prior"]


class FeatureRecipe(Section):
    """What a classifier sees of an image.

    Attributes:
        name: of the system.
        features: `pixels` of a small square, `histogram` of hue, saturation and value together, `backbone`,
            the last features of a frozen network, or `none`.
        cached: side of the squares that are read, in pixels; the whole image, out of proportion.
        equalise: spread the luminance of each image evenly over its range first.
        lesion: how the lesion masks of the data are used, as in `related.masks`; `none` needs none.
        resized: side that images have after that, in pixels; none leaves `cached`.
        side: of `pixels`; `cached` is a multiple of it.
        bins: of `histogram`, along each of the three axes.
        backbone: of `backbone`, and what it starts from, as in `model.backbone` and `model.weights`.
        weights: see there.
    """

    name: str
    features: Literal["pixels", "histogram", "backbone", "none"] = "backbone"
    cached: Annotated[int, Field(ge=8, le=1024)] = 112
    equalise: bool = False
    lesion: Use = "none"
    resized: Annotated[int, Field(ge=8, le=1024)] | None = None
    side: PositiveInt = 28
    bins: Annotated[int, Field(ge=2, le=32)] = 8
    backbone: str = "mobilenet_v3_small"
    weights: str = "hub"

    @model_validator(mode="after")
    def _blocks_are_whole(self) -> Self:
        if self.features == "pixels" and (self.resized or self.cached) % self.side:
            raise ValueError(
                f"cached {self.cached} is no multiple of side {self.side}: pixels are means of blocks"
            )
        return self

    @property
    def key(self) -> str:
        """Two recipes of one key see the same of every image."""
        return self.model_dump_json(include=set(FeatureRecipe.model_fields) - {"name"})


class ClassicalRecipe(FeatureRecipe):
    """A classical system.

    Attributes:
        components: principal components that the features are reduced to; none keeps them.
        classifier: `forest`, `boosting` (scikit-learn's histogram-based gradient boosting, which stands for
            XGBoost), `svm` with a radial kernel, `nearest` neighbours by Gower's distance, or `prior`, which
            names the most frequent class.
        settings: of the scikit-learn class, by its own names.
    """

    components: PositiveInt | None = None
    classifier: Classifier
    settings: dict[str, Any] = Field(default_factory=dict)


# Features.


def equalised_luminance(x_NSS3: Pixels) -> Pixels:
    """Equalise the histogram of Y of YCbCr in each image; the two colours stay.

    Y, Cb and Cr are those of ITU-R BT.601 as JPEG has them, the equalisation is Pillow's.
    """
    return np.stack([_equalised(x_SS3) for x_SS3 in x_NSS3])


def _equalised(x_SS3: Pixels) -> Pixels:
    luminance, blue, red = Image.fromarray(x_SS3).convert("YCbCr").split()
    merged = Image.merge("YCbCr", (ImageOps.equalize(luminance), blue, red))
    return np.asarray(merged.convert("RGB"))


def small_pixels(x_NSS3: Pixels, side: int) -> Features:
    """Means of blocks, in 0 … 1, as one row an image: (N, side · side · 3)."""
    images, size = x_NSS3.shape[:2]
    step = size // side
    blocks = x_NSS3.reshape(images, side, step, side, step, 3)
    return np.asarray(blocks.mean(axis=(2, 4)) / 255, dtype=np.float32).reshape(images, -1)


def colour_histograms(x_NSS3: Pixels, bins: int) -> Features:
    """Share of each image's pixels in each cell of hue × saturation × value: (N, bins³), rows of sum 1."""
    return np.stack([_histogram(x_SS3, bins) for x_SS3 in x_NSS3])


def _histogram(x_SS3: Pixels, bins: int) -> Features:
    cell_SS3 = np.asarray(Image.fromarray(x_SS3).convert("HSV")).astype(np.int64) * bins // 256
    index_SS = (cell_SS3[..., 0] * bins + cell_SS3[..., 1]) * bins + cell_SS3[..., 2]
    counts = np.bincount(index_SS.ravel(), minlength=bins**3)
    return np.asarray(counts / counts.sum(), dtype=np.float32)


def frozen_network(recipe: FeatureRecipe, size: int) -> LesionClassifier:
    """A network that was trained on ImageNet and on nothing here, in evaluation mode.

    Args:
        recipe: names it and its start.
        size: side of its images.
    """
    import torch

    from dermlens.models.classifier import build_classifier
    from dermlens.models.config import ModelConfig

    config = ModelConfig(
        backbone=recipe.backbone, weights=recipe.weights, attention="none", pool="gap", metadata="none"
    )
    torch.manual_seed(0)  # a start of `none` is the same in every fold
    return build_classifier(config, num_classes=2, meta_width=0, size=size).eval()


def frozen_features(x_NSS3: Pixels, recipe: FeatureRecipe) -> Features:
    """The globally averaged last map of a frozen network."""
    import torch

    model, parts = frozen_network(recipe, x_NSS3.shape[1]), []
    with torch.inference_mode():
        for x_BSS3 in np.array_split(x_NSS3, max(1, len(x_NSS3) // 32)):
            x_B3SS = torch.from_numpy(np.ascontiguousarray(x_BSS3)).permute(0, 3, 1, 2)
            parts.append(model(x_B3SS)[1]["features_BD"].numpy())
    return np.concatenate(parts)


def features(x_NSS3: Pixels, recipe: FeatureRecipe, mask_NSS: Pixels | None = None) -> Features:
    """What a recipe's classifier sees of images, each by itself.

    Args:
        x_NSS3: uint8.
        recipe: which features.
        mask_NSS: lesion masks, of a recipe that uses them.

    Returns:
        (N, F).
    """
    if recipe.features == "none":
        return np.zeros((len(x_NSS3), 1), np.float32)
    if recipe.lesion != "none" or recipe.resized is not None:
        mask_NSS = np.zeros(x_NSS3.shape[:3], np.uint8) if mask_NSS is None else mask_NSS
        x_NSS3 = masked(x_NSS3, mask_NSS, recipe.lesion, recipe.resized or recipe.cached)
    if recipe.equalise:
        x_NSS3 = equalised_luminance(x_NSS3)
    if recipe.features == "pixels":
        return small_pixels(x_NSS3, recipe.side)
    if recipe.features == "histogram":
        return colour_histograms(x_NSS3, recipe.bins)
    return frozen_features(x_NSS3, recipe)


# Classifiers.


def pipeline(recipe: ClassicalRecipe, seed: int) -> Pipeline:
    """The scikit-learn pipeline of a recipe, all of which is fitted on training images.

    Gower's distance of numbers is (1/F)·Σ|x_i − y_i|/range_i, the range being that of the training images:
    the Manhattan distance of features that were scaled to their range, up to 1/F, which changes no order.
    """
    steps: list[tuple[str, Any]] = []
    if recipe.components is not None:
        steps.append(("components", PCA(recipe.components, random_state=seed)))
    if recipe.classifier == "svm":
        steps.append(("scale", StandardScaler()))
    if recipe.classifier == "nearest":
        steps.append(("range", MinMaxScaler()))
    made: dict[str, Callable[..., Any]] = {
        "forest": lambda **own: RandomForestClassifier(random_state=seed, **own),
        "boosting": lambda **own: HistGradientBoostingClassifier(
            random_state=seed, early_stopping=False, **own
        ),
        "svm": lambda **own: SVC(kernel="rbf", decision_function_shape="ovr", **own),
        "nearest": lambda **own: KNeighborsClassifier(metric="manhattan", algorithm="brute", **own),
        "prior": lambda **own: DummyClassifier(strategy="prior", **own),
    }
    try:
        steps.append((recipe.classifier, made[recipe.classifier](**recipe.settings)))
    except TypeError as error:
        raise UserError(f"recipe {recipe.name}: settings of {recipe.classifier}: {error}") from error
    return Pipeline(steps)


def probabilities(fitted: Pipeline, features_NF: Features, classes: int) -> NDArray[np.float64]:
    """p_NC of a fitted pipeline; a class that it never saw has 0.

    A support vector machine has no probabilities: the softmax of its one-against-rest decision values stands
    for them. Their order is the machine's own, their size says little.
    """
    if hasattr(fitted, "predict_proba"):
        found_NK = np.asarray(fitted.predict_proba(features_NF), dtype=np.float64)
    else:
        value_NK = np.asarray(fitted.decision_function(features_NF), dtype=np.float64)
        if value_NK.ndim == 1:  # two classes have one value
            value_NK = np.stack([-value_NK, value_NK], axis=1)
        shifted_NK = np.exp(value_NK - value_NK.max(axis=1, keepdims=True))
        found_NK = shifted_NK / shifted_NK.sum(axis=1, keepdims=True)
    p_NC = np.zeros((len(features_NF), classes))
    p_NC[:, np.asarray(fitted.classes_, dtype=np.int64)] = found_NK
    return p_NC
