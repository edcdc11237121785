"""Grad-CAM on the backbone's map, by Captum."""

from __future__ import annotations

import numpy as np

from dermlens.errors import require
from dermlens.explain.heat import Heat, Metadata, Pixels, spread
from dermlens.explain.network import to_tensors
from dermlens.models.saved import SavedModel


def grad_cam(saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, target: int) -> Heat:
    """The channels of the backbone's map, weighted by their mean gradient, where they speak for the class.

    Source: Selvaraju et al. 2017, Eq. 1 and 2, the ReLU among them: what speaks against a class is 0.

    Args:
        saved: a model with a map.
        image_SSC: uint8, the square that the network sees.
        meta_M: encoded metadata.
        target: class index.

    Returns:
        Heat of no scale of its own: its sum is nothing.

    Raises:
        UserError: Captum is not installed.
    """
    captum = require("captum.attr", "explain")
    x_1CSS, meta_1M = to_tensors(image_SSC, meta_M)
    layer = captum.LayerGradCam(lambda x_BCSS, meta_BM: saved.model(x_BCSS, meta_BM)[0], saved.model.backbone)
    found = layer.attribute(x_1CSS, target=target, additional_forward_args=(meta_1M,), relu_attributions=True)
    return Heat(spread(found[0, 0].detach().numpy().astype(np.float64), saved.size))
