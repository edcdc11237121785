"""Where Soft-Attention looks: how much of its mass lies inside the lesion.

The map of an image is the sum over the heads, as the network applies it; each of its cells is spread evenly
over the pixels of the input square that it stands for, and the whole is scaled to 1. Its mass inside the
lesion mask is set next to two that know nothing of the image: the mask's own share of the square, which is
the mass of an even map, and that of a Gaussian in the middle, since lesions are photographed there. The
Gaussian has a standard deviation of a quarter of the side, wide enough that the square holds 91 % of it.

At 96 px the paper's cut of MobileNetV3-Small has a map of 3×3 cells: it can tell the middle from the border,
and hardly a lesion's shape. At its native 224 px it has 7×7.

Shapes: N images, K heads, h×w cells, S side of the square in pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dermlens.data.cache import PixelCache, open_cache
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.evaluation.intervals import estimate
from dermlens.metrics import Floats, weighted_mean
from dermlens.models.saved import SavedModel
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig
from dermlens.studies.ablation import folds_of
from dermlens.studies.folds import FOLD, held_out
from dermlens.training.machine import resolve_device
from paper.contrasts import draw_two_levels

SIGMA = 0.25
"""Of the Gaussian, in sides."""
BATCH = 64
COLUMNS = ("image_id", "lesion_id", FOLD, "dx", "mask_share", "attention_mass", "gaussian_mass")


def attention_mass(arm: Path, data: Path, *, device: str = "auto", cache: Path | None = None) -> pd.DataFrame:
    """The three masses of every image that an arm scores and that has a mask.

    Args:
        arm: the folder of a cross-fit whose networks have Soft-Attention.
        data: the data folder, masks in it.
        device: as for `predict_table`.
        cache: as for `predict_table`.

    Returns:
        `COLUMNS`, a row an image whose mask is not empty.

    Raises:
        UserError: a fold is not there, there is no attention or no mask, or the data are not the arm's.
    """
    runs = folds_of(arm)
    recipe = runs[0].recipe
    if recipe.model.attention == "none":
        raise UserError(f"{arm}: its networks have no Soft-Attention, so it looks nowhere")
    table = read_configured(data, recipe.data)
    if table["mask"].isna().all():
        raise UserError(f"{data} has no lesion masks: put them into its folder masks")
    parts = [_of_fold(run, table, fold, device, cache) for fold, run in enumerate(runs)]
    return pd.concat(parts, ignore_index=True).sort_values("image_id", ignore_index=True)[list(COLUMNS)]


def masses(alpha_Bhw: Floats, mask_BSS: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    """The three masses of a batch.

    Args:
        alpha_Bhw: attention, summed over heads, of any scale.
        mask_BSS: 0 outside to 255 inside, at least one pixel not 0.

    Returns:
        `mask_share`, `attention_mass`, `gaussian_mass`, each (B,) in 0 … 1.
    """
    side = mask_BSS.shape[-1]
    inside_BSS = mask_BSS / 255.0
    rows = _cells(alpha_Bhw.shape[1], side)
    columns = _cells(alpha_Bhw.shape[2], side)
    # pixels of the mask in each cell: what a cell holds inside is its mass times the share of its pixels
    inside_Bhw = np.einsum("bij,ih,jw->bhw", inside_BSS, rows, columns)
    share_Bhw = inside_Bhw / np.einsum("ih,jw->hw", rows, columns)
    attention_Bhw = alpha_Bhw / alpha_Bhw.sum(axis=(1, 2), keepdims=True)
    gaussian_SS = _gaussian(side)
    return {
        "mask_share": inside_BSS.mean(axis=(1, 2)),
        "attention_mass": (attention_Bhw * share_Bhw).sum(axis=(1, 2)),
        "gaussian_mass": (inside_BSS * gaussian_SS).sum(axis=(1, 2)),
    }


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Means over images, and of the differences within them, with 95 % intervals over folds and lesions.

    Args:
        table: of `attention_mass`.

    Returns:
        `quantity`, `value`, `low`, `high`, `images`; quantities are the masses and their differences.
    """
    columns = {name: table[name].to_numpy(dtype=np.float64) for name in COLUMNS[-3:]}
    columns["attention_minus_area"] = columns["attention_mass"] - columns["mask_share"]
    columns["attention_minus_gaussian"] = columns["attention_mass"] - columns["gaussian_mass"]
    config = EvaluationConfig()
    stratum_N = pd.factorize(table["dx"], sort=True)[0].astype(np.int64)
    lesion_N = table["lesion_id"].to_numpy(dtype=str)
    fold_N = table["fold"].to_numpy(dtype=np.int64)
    resamples = draw_two_levels(lesion_N, stratum_N, fold_N, replicates=config.bootstrap, seed=config.seed)
    found = estimate(
        lambda weights: {(name,): weighted_mean(values, weights) for name, values in columns.items()},
        resamples,
        level=config.level,
    )
    return pd.DataFrame([{"quantity": name, **found[name,], "images": len(table)} for name in columns])


def _of_fold(run: Run, table: pd.DataFrame, fold: int, device: str, cache_root: Path | None) -> pd.DataFrame:
    saved = run.model()
    split = run.split(table)
    pixels = _open(saved, table, cache_root, mask=False)
    masks = _open(saved, table, cache_root, mask=True)
    rows = table.set_index("image_id", drop=False).loc[held_out(run, split)["image_id"]]
    rows = rows[[_has_mask(masks, image) for image in rows["image_id"]]]
    parts: list[dict[str, Floats]] = []
    for start in range(0, len(rows), BATCH):
        taken = rows.iloc[start : start + BATCH]
        index_B = np.array([masks.index[image] for image in taken["image_id"]])
        parts.append(masses(_alpha(saved, taken, pixels.take(index_B), device), masks.take(index_B)[..., 0]))
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return rows[["image_id", "lesion_id", "dx"]].reset_index(drop=True).assign(fold=fold, **found)


def _open(saved: SavedModel, table: pd.DataFrame, root: Path | None, *, mask: bool) -> PixelCache:
    if mask:
        return open_cache(table, size=saved.size, crop=saved.crop, root=root, what="mask")
    return open_cache(
        table, size=saved.size, crop=saved.crop, root=root, colour_constancy=saved.colour_constancy
    )


def _has_mask(masks: PixelCache, image: str) -> bool:
    row = masks.index[image]
    return bool(masks.present[row]) and bool(masks.take(np.array([row])).any())


@torch.inference_mode()
def _alpha(saved: SavedModel, rows: pd.DataFrame, x_BSSC: npt.NDArray[np.uint8], device: str) -> Floats:
    """alpha_Bhw, summed over the heads."""
    resolved = resolve_device(device)
    network = saved.model.to(resolved).to(memory_format=torch.channels_last).eval()
    meta_BM = saved.encoder.encode(rows["age"], rows["sex"].tolist(), rows["site"].tolist())
    x_BCSS = torch.from_numpy(x_BSSC).permute(0, 3, 1, 2)
    _, found = network(x_BCSS.to(resolved), torch.from_numpy(meta_BM).to(resolved))
    alpha_Bhw: Floats = found["alpha_BKHW"].sum(1).double().cpu().numpy()
    return alpha_Bhw


def _cells(count: int, side: int) -> Floats:
    """(S, count): how much of each pixel's breadth lies in each of as many cells of even breadth."""
    edges = np.linspace(0, side, count + 1)
    pixel_S = np.arange(side)[:, None]
    overlap: Floats = np.minimum(pixel_S + 1, edges[None, 1:]) - np.maximum(pixel_S, edges[None, :-1])
    return np.clip(overlap, 0, None)


def _gaussian(side: int) -> Floats:
    """(S, S), of sum 1 over the square, in its middle."""
    offset_S = (np.arange(side) + 0.5) / side - 0.5
    bell_S = np.exp(-0.5 * (offset_S / SIGMA) ** 2)
    bell_SS = np.outer(bell_S, bell_S)
    scaled: Floats = bell_SS / bell_SS.sum()
    return scaled
