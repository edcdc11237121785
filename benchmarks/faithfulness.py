"""Whether a heat map shows what the model goes by: measures with known limits, and networks that forget.

An explanation of what a network has learnt must change as the network forgets (Adebayo et al. 2018, "Sanity
Checks for Saliency Maps", the cascading check; Young et al. 2019, arXiv 1908.06612, on skin lesions). Maps
are compared as they are: laid over the photograph, as the latter have them, two maps are alike by it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from dermlens.explain.methods import Draw
from dermlens.explain.network import Metadata, Pixels
from dermlens.metrics import Floats
from dermlens.models.classifier import build_classifier
from dermlens.models.saved import SavedModel
from dermlens.training.optimisers import backbone_blocks

# Whether a heat map shows what the model goes by: measures with known limits, as pure functions.
#
# N images, S side of the square, F fractions of its pixels, C colours.


Probability = Callable[[Pixels], Floats]
"""Squares (B, S, S, C) to one probability each, (B,)."""

SIGMA = 0.25
"""Of the centred Gaussian, in sides: a square holds 91 % of it."""


def order_of(heat_SS: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Pixels, hottest first, as flat indices; of equal ones the first in reading order."""
    return np.argsort(-heat_SS.ravel(), kind="stable").astype(np.int64)


def stages(image_SSC: Pixels, stand_in_SSC: Pixels, heat_SS: npt.NDArray[np.floating], steps: int) -> Pixels:
    """The image on its way to its stand-in, the hottest pixels first.

    Args:
        image_SSC: where it begins.
        stand_in_SSC: where it ends.
        heat_SS: which pixels go first.
        steps: between the first stage and the last, equal numbers of pixels each but for rounding.

    Returns:
        (steps + 1, S, S, C).
    """
    order = order_of(heat_SS)
    flat, other = image_SSC.reshape(len(order), -1), stand_in_SSC.reshape(len(order), -1)
    made = []
    for step in range(steps + 1):
        now = flat.copy()
        gone = order[: round(step * len(order) / steps)]
        now[gone] = other[gone]
        made.append(now.reshape(image_SSC.shape))
    return np.stack(made)


def area(p_F: npt.NDArray[np.floating]) -> float:
    """Area under a curve over equal steps from 0 to 1, by trapezoids: a constant's area is the constant."""
    p = np.asarray(p_F, dtype=np.float64)
    return float((p[:-1] + p[1:]).sum() / (2 * (len(p) - 1)))


def deletion(
    probability: Probability,
    image_SSC: Pixels,
    stand_in_SSC: Pixels,
    heat_SS: npt.NDArray[np.floating],
    steps: int = 8,
) -> float:
    """Area under the probability while the hottest pixels are taken away first; lower is more faithful.

    Source: Petsiuk, Das, Saenko 2018, "RISE", section 4.2.
    """
    return area(probability(stages(image_SSC, stand_in_SSC, heat_SS, steps)))


def insertion(
    probability: Probability,
    image_SSC: Pixels,
    stand_in_SSC: Pixels,
    heat_SS: npt.NDArray[np.floating],
    steps: int = 8,
) -> float:
    """Area under the probability while the hottest pixels are put back first; higher is more faithful."""
    return area(probability(stages(stand_in_SSC, image_SSC, heat_SS, steps)))


def mass_inside(heat_SS: npt.NDArray[np.floating], inside_SS: npt.NDArray[Any]) -> float:
    """Share of the positive heat that lies inside a mask.

    Args:
        heat_SS: signed or not; what is negative counts as 0.
        inside_SS: share of each pixel inside, 0 to 1; booleans do.

    Returns:
        0 to 1; NaN where no heat is positive.
    """
    positive_SS = np.maximum(np.asarray(heat_SS, dtype=np.float64), 0)
    total = positive_SS.sum()
    return float((positive_SS * inside_SS).sum() / total) if total > 0 else float("nan")


def rank_correlation(one_SS: npt.NDArray[np.floating], other_SS: npt.NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two maps over pixels, equal values sharing their mean rank.

    Returns:
        −1 to 1; NaN where a map is the same everywhere.
    """
    one, other = _ranks(one_SS), _ranks(other_SS)
    one, other = one - one.mean(), other - other.mean()
    norm = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / norm) if norm > 0 else float("nan")


def gaussian(side: int) -> Floats:
    """A bell in the middle of the square, of sum 1: what a map is worth that knows nothing of the image."""
    offset_S = (np.arange(side) + 0.5) / side - 0.5
    bell_S = np.exp(-0.5 * (offset_S / SIGMA) ** 2)
    bell_SS = np.outer(bell_S, bell_S)
    return np.asarray(bell_SS / bell_SS.sum())


def random_cells(side: int, cells: int, rng: np.random.Generator) -> Floats:
    """Random heat in cells × cells blocks: as coarse as a network's map, so that the damage is alike in kind.

    Single random pixels would be noise, which a network minds more than a missing patch of the same area.
    """
    index_S = np.arange(side) * cells // side
    return np.asarray(rng.random((cells, cells))[np.ix_(index_S, index_S)])


def _ranks(map_SS: npt.NDArray[np.floating]) -> Floats:
    _, inverse, counts = np.unique(np.asarray(map_SS).ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    rank: Floats = (last - (counts - 1) / 2)[inverse]
    return rank


# The network that has learnt nothing: the sanity check of explanations needs one next to the trained.
#
# B images, S side of the square, M metadata width.


def randomised(saved: SavedModel, x_BSSC: Pixels, meta_BM: Metadata, *, seed: int) -> SavedModel:
    """A model of the same design whose weights are drawn anew, all of them, as before training.

    Its batch norms get the statistics of some images; with those of the trained network, or of none, nothing
    of an image would reach the end.

    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps": the whole network is randomised.

    Args:
        saved: the trained model, which is left as it is.
        x_BSSC: images for the statistics, some dozens.
        meta_BM: their metadata.
        seed: of the weights.
    """
    config = saved.config.model_copy(
        update={
            "weights": "none",
            "form": saved.config.resolved_form,
            "conventions": saved.config.resolved_conventions,
        }
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = build_classifier(
            config, num_classes=len(saved.classes), meta_width=saved.encoder.width, size=saved.size
        )
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.momentum = None  # a plain mean over the batches
        x_BCSS = torch.from_numpy(np.ascontiguousarray(x_BSSC)).permute(0, 3, 1, 2)
        network.train()(x_BCSS, torch.from_numpy(meta_BM))
    return replace(saved, model=network.eval())


# Networks that are made to forget from their end on, and bare maps compared.


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
