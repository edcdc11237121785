"""Grad-CAM against what it is in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dermlens.explain.methods import grad_cam
from dermlens.explain.network import spread
from dermlens.models.saved import load_model

from .conftest import SIDE, patient


class Positive(nn.Module):
    """A backbone whose map is positive everywhere, so that the head's ReLU passes all of it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.backbone(x_BCHW).abs() + 0.1


def test_of_global_averaging_over_a_positive_map_it_is_the_class_activation_map(folders, lesion):
    """Zhou et al. 2016 over the number of positions, what is negative cut off: Selvaraju et al. 2017, 3.1."""
    saved = replace(load_model(folders("gap")), size=SIDE)
    saved.model.backbone = Positive(saved.model.backbone)
    meta_M = patient(saved)
    x_BCHW = torch.from_numpy(lesion).permute(2, 0, 1)[None]
    with torch.no_grad():
        _, found = saved.model(x_BCHW, torch.from_numpy(meta_M)[None])
    last_CHW = found["last_BCHW"][0]
    weight_C = saved.model.head.linear.weight[4, : len(last_CHW)].detach()
    cam_HW = torch.einsum("c,chw->hw", weight_C, last_CHW).relu().numpy() / last_CHW[0].numel()
    heat_SS = grad_cam(saved, lesion, meta_M, 4).heat_SS
    assert last_CHW[0].numel() > 1
    np.testing.assert_allclose(heat_SS, spread(cam_HW, SIDE), atol=1e-7)


def test_of_any_other_map_channels_weigh_by_the_share_that_passes_the_relu(tiny, explain, lesion):
    saved = tiny("gap")
    x_BCHW = torch.from_numpy(lesion).permute(2, 0, 1)[None]
    with torch.no_grad():
        map_CHW = saved.model.backbone(saved.model.normalize(x_BCHW))[0]
    passed_C = (map_CHW > 0).float().mean(dim=(1, 2)) / map_CHW[0].numel()
    weight_C = saved.model.head.linear.weight[4, : len(map_CHW)].detach() * passed_C
    expected_HW = torch.einsum("c,chw->hw", weight_C, map_CHW).relu().numpy()
    np.testing.assert_allclose(explain("grad_cam", "gap").heat_SS, spread(expected_HW, SIDE), atol=1e-7)
    assert len(np.unique(passed_C)) > 1
