"""The network that has learnt nothing: the sanity check of explanations needs one beside the trained.

B images, S side of the square, M metadata width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dermlens.explain.heat import Metadata, Pixels
from dermlens.models.classifier import build_classifier
from dermlens.models.saved import SavedModel


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
