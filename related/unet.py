"""A U-Net trained on the folds of the comparison, and scored on the one that is held out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermlens.data.cache import open_cache
from dermlens.data.config import DataConfig, SplitConfig
from dermlens.data.predictions import write_csv
from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured
from dermlens.errors import UserError, require
from dermlens.files import write_json
from dermlens.labels import CLASSES
from dermlens.predict.segmenter import Agreement
from dermlens.sections import EvaluationConfig
from dermlens.studies.folds import check_sealed
from paper.study import start_of
from related.jaccard import jaccard, jaccard_scores
from related.segmentation import (
    Pixels,
    SegmentationRecipe,
    export_unet,
    predict_masks,
    save_encoder,
    save_unet,
    train_unet,
)
from related.study import read_recipe

SPLIT = SplitConfig(manifest="grouped-v1", folds=6, fold=0)
"""The folds of the comparison, the first held out."""
INDICES, SCORES = "jaccard.csv", "jaccard.json"
ENCODER = "encoder.safetensors"
"""The start of a classifier ([16]); of a U-Net that began with one itself."""
SHOWN = 8
"""Held-out images on which the exported network is compared with the trained one."""


def fit_unet(
    path: Path,
    data: Path,
    out: Path,
    *,
    split: SplitConfig = SPLIT,
    weights: Path | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train a U-Net, score it and export it.

    What is written: the weights, the index of every held-out image and their means by lesion, and
    segmenter.onnx with segmenter.json, which `dermlens segment` reads.

    Args:
        path: of its recipe.
        data: the folder of HAM10000, with masks.
        out: to write to.
        split: folds of which one is held out.
        weights: a folder of starts, or none.
        cache: where pixel caches are.
        say: takes a line an epoch.

    Raises:
        UserError: images have no mask, the test role is not that of `grouped-v1`, or the extra `export` is
            not installed.
    """
    recipe = read_recipe(SegmentationRecipe, path)
    if recipe.shape == "pad":
        raise UserError(f"{path}: the pixel cache squashes, so that no network of shape pad is trained")
    for module in ("onnx", "onnxscript"):  # before the training, not after it
        require(module, "export")
    for override in start_of("mobilenet_v3_small", weights):
        key, _, value = override.partition("=")
        if key == "model.weights":
            recipe = recipe.model_copy(update={"start": value})
    table = read_configured(data, DataConfig())
    drawn = resolve_split(table, split)
    check_sealed(table, drawn)
    role = dict(zip(drawn.roles["image_id"], drawn.roles["role"], strict=True))
    table = table[table["image_id"].map(role).isin(("train", "selection"))].reset_index(drop=True)
    if table["mask"].isna().any():
        raise UserError(f"{data}: {int(table['mask'].isna().sum())} images have no mask in its folder masks")
    images = open_cache(table, size=recipe.size, crop="squash", root=cache)
    masks = open_cache(table, size=recipe.size, crop="squash", root=cache, what="mask")
    target_N = table["dx"].map(list(CLASSES).index).to_numpy(np.int64)

    def draw(rows: NDArray[np.int64]) -> tuple[Pixels, Pixels, NDArray[np.int64]]:
        return images.take(rows), masks.take(rows)[..., 0], target_N[rows]

    role_N = table["image_id"].map(role).to_numpy()
    rows_N = np.flatnonzero(role_N == "train")
    network = train_unet(recipe, draw, rows_N, say)
    save_unet(network, recipe, out)
    if recipe.start is not None:
        save_encoder(network, Path(recipe.start), out / ENCODER)
    held = np.flatnonzero(role_N == "selection")
    found = np.concatenate(
        [
            jaccard(predict_masks(network, draw(rows)[0]) > 0, draw(rows)[1] > 127)
            for rows in np.array_split(held, max(1, len(held) // 64))
        ]
    )
    scored: pd.DataFrame = table.iloc[held][["image_id", "lesion_id"]].assign(jaccard=found)
    write_csv(out / INDICES, scored, digits=6)
    scores = jaccard_scores(found, scored["lesion_id"].to_numpy(dtype=str), EvaluationConfig())
    lesions = scored["lesion_id"].nunique()
    write_json(out / SCORES, {**scores, "images": len(held), "lesions": lesions, "recipe": recipe.name})
    trained = table.iloc[rows_N]["lesion_id"].nunique()
    export_unet(
        network,
        recipe,
        out,
        draw(held[:SHOWN])[0],
        trained_on=f"{len(rows_N)} images of {trained} lesions of HAM10000 with its lesion masks,"
        f" {recipe.epochs} epochs",
        measured=Agreement.model_validate({**scores, "images": len(held), "lesions": lesions}),
    )
    return dict(scores)
