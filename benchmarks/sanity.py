"""Sanity checks of explanations: a network that is made to forget from its end on, and bare maps compared.

An explanation of what a network has learnt must change as the network forgets (Adebayo et al. 2018, "Sanity
Checks for Saliency Maps", the cascading check; Young et al. 2019, arXiv 1908.06612, on skin lesions). Maps
are compared as they are: laid over the photograph, as the latter have them, two maps are alike by it.

B images, S side of the square, M metadata width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from benchmarks.faithfulness import randomised, rank_correlation
from dermlens.errors import require
from dermlens.explain.methods import Draw
from dermlens.explain.network import Metadata, Pixels
from dermlens.models.saved import SavedModel
from dermlens.training.optimisers import backbone_blocks

WINDOW = 9
"""Side of the window of the structural similarity, as Young et al. have it."""


def cascade(
    saved: SavedModel, x_BSSC: Pixels, meta_BM: Metadata, *, seed: int
) -> Iterator[tuple[str, SavedModel]]:
    """Models that have forgotten ever more: the head, then the backbone's blocks from the last to the first.

    The batch norms of what is forgotten get the statistics of some images, in the network as it then is.

    Args:
        saved: the trained model, which is left as it is.
        x_BSSC: images for the statistics.
        meta_BM: their metadata.
        seed: of the new weights.

    Yields:
        What was forgotten last, and the model; the last one has nothing of the trained weights.
    """
    drawn = randomised(saved, x_BSSC, meta_BM, seed=seed).model.state_dict()
    model = copy.deepcopy(saved.model)
    x_BCSS = torch.from_numpy(np.ascontiguousarray(x_BSSC)).permute(0, 3, 1, 2)
    forgotten: list[str] = []
    for block in ["head", *reversed(backbone_blocks(saved.model))]:
        forgotten.append(block)
        own = {name: value for name, value in drawn.items() if name.startswith(f"{block}.")}
        model.load_state_dict(own, strict=False)
        model.eval()
        for name, module in model.named_modules():
            inside = any(name == one or name.startswith(f"{one}.") for one in forgotten)
            if inside and isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.reset_running_stats()
                module.momentum = None  # a plain mean over the batches
                module.train()
        with torch.no_grad():
            model(x_BCSS, torch.from_numpy(meta_BM))
        yield block, replace(saved, model=copy.deepcopy(model).eval())


def structural_similarity(one_SS: npt.NDArray[np.floating], other_SS: npt.NDArray[np.floating]) -> float:
    """SSIM of two maps (Wang et al. 2004, by scikit-image), each scaled to 0 … 1 first.

    Returns:
        −1 to 1; NaN where a map is the same everywhere.
    """
    require("skimage", "explain")
    from skimage.metrics import structural_similarity as ssim

    if not (np.ptp(one_SS) > 0 and np.ptp(other_SS) > 0):
        return float("nan")
    scaled = [(map_SS - map_SS.min()) / np.ptp(map_SS) for map_SS in (one_SS, other_SS)]
    return float(ssim(scaled[0], scaled[1], win_size=WINDOW, data_range=1.0))  # type: ignore[no-untyped-call]


def compare_maps(
    saved: SavedModel,
    other: SavedModel,
    draw: Draw,
    x_BSSC: Pixels,
    meta_BM: Metadata,
    target_B: Sequence[int],
) -> dict[str, float]:
    """How alike two models' maps of some images are.

    Args:
        saved: one model.
        other: the other; the same one measures what repeating changes.
        draw: a method.
        x_BSSC: the images.
        meta_BM: their metadata.
        target_B: the class that is explained, for both models.

    Returns:
        `ssim` and `rank`, Spearman's correlation over pixels: means over the images that have both maps.
    """
    found = []
    for image_SSC, meta_M, target in zip(x_BSSC, meta_BM, target_B, strict=True):
        one, two = (draw(model, image_SSC, meta_M, target).heat_SS for model in (saved, other))
        found.append((structural_similarity(one, two), rank_correlation(one, two)))
    ssim, rank = pd.DataFrame(found, columns=["ssim", "rank"]).mean()
    return {"ssim": float(ssim), "rank": float(rank)}


def sanity_table(
    saved: SavedModel,
    methods: dict[str, Draw],
    x_BSSC: Pixels,
    meta_BM: Metadata,
    target_B: Sequence[int],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Every method's maps against those of the trained model: drawn again, and at each step of the cascade.

    Args:
        saved: the trained model.
        methods: by name, of those that fit it.
        x_BSSC: some dozens of images, which give the statistics too.
        meta_BM: their metadata.
        target_B: the class that is explained.
        seed: of the new weights.

    Returns:
        `forgotten`, `nothing` for the repetition; `method`, `ssim`, `rank`.
    """
    rows = []
    for forgotten, other in [("nothing", saved), *cascade(saved, x_BSSC, meta_BM, seed=seed)]:
        for name, draw in methods.items():
            measured = compare_maps(saved, other, draw, x_BSSC, meta_BM, target_B)
            rows.append({"forgotten": forgotten, "method": name, **measured})
    return pd.DataFrame(rows)
