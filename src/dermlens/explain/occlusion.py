"""Occlusion: how the score falls when a window of the image is out of focus, by Captum."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dermlens.errors import require
from dermlens.explain.baselines import blurred
from dermlens.explain.heat import Heat, Metadata, Pixels
from dermlens.explain.network import BATCH, many, to_tensors
from dermlens.models.saved import SavedModel

WINDOW, STRIDE = 4, 8
"""The side divided by the window's, and by the step's: 7 × 7 windows, each overlapping its neighbours."""


def occlusion(saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, target: int) -> Heat:
    """The fall of the score, averaged over the windows that hold a pixel.

    Source: Zeiler and Fergus 2014; the window is blurred (`dermlens.explain.baselines.blurred`), not grey,
    since a grey square is itself something to see.

    Args:
        saved: any model.
        image_SSC: uint8, the square that the network sees.
        meta_M: encoded metadata.
        target: class index.

    Returns:
        Heat in units of the score. Windows overlap, so it does not add up.

    Raises:
        UserError: Captum is not installed.
    """
    captum = require("captum.attr", "explain")
    network = many(saved)
    x_1CSS, meta_1M = to_tensors(image_SSC, meta_M)
    stand_in_1CSS, _ = to_tensors(blurred(image_SSC), meta_M)

    def score(x_BCSS: Tensor, meta_BM: Tensor) -> Tensor:
        out_B: Tensor = network(x_BCSS, meta_BM)[0][:, target]
        return out_B

    with torch.inference_mode():
        found = captum.Occlusion(score).attribute(
            x_1CSS,
            sliding_window_shapes=(3, saved.size // WINDOW, saved.size // WINDOW),
            strides=(3, saved.size // STRIDE, saved.size // STRIDE),
            baselines=stand_in_1CSS,
            additional_forward_args=(meta_1M,),
            perturbations_per_eval=BATCH,
        )
    return Heat(found[0, 0].numpy().astype(np.float64))
