"""Shapley values: efficiency, missing players, and a game whose values are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dermlens.explain.methods import blurred, kernel_shap, patches

from .conftest import FEW, patient


def test_contributions_sum_to_the_difference_of_the_outputs(tiny, explain, lesion):
    saved, heat = tiny("gap"), explain("kernel_shap", "gap")
    x_BCHW = torch.from_numpy(np.stack([lesion, blurred(lesion)])).permute(0, 3, 1, 2)
    meta_BM = torch.from_numpy(np.stack([patient(saved), saved.encoder.missing]))
    with torch.no_grad():
        logits_BC, _ = saved.model(x_BCHW, meta_BM)
    difference = float(logits_BC[0, 4] - logits_BC[1, 4])
    assert heat.heat_SS.sum() + sum(heat.patient.values()) == pytest.approx(difference, abs=2e-4)
    assert heat.rest == pytest.approx(float(logits_BC[1, 4]), abs=1e-5)


def test_what_is_missing_adds_nothing_and_what_is_known_does(tiny, lesion, explain):
    saved = tiny("gap")
    nobody = kernel_shap(saved, lesion, saved.encoder.missing, 4, samples=FEW)
    assert dict(nobody.patient) == {"age": 0.0, "sex": 0.0, "site": 0.0}
    aged = kernel_shap(saved, lesion, patient(saved, 60.0, "unknown", "unknown"), 4, samples=FEW)
    assert aged.patient["age"] != 0
    assert aged.patient["sex"] == aged.patient["site"] == 0
    assert all(explain("kernel_shap", "gap").patient.values())


def test_a_model_without_metadata_has_no_patient(explain):
    assert explain("kernel_shap", "plain").patient == {}


class Sum(nn.Module):
    """The mean brightness of the square and thrice the sum of the metadata, as every logit."""

    def forward(self, x_BCSS, meta_BM):
        score_B = x_BCSS.float().mean(dim=(1, 2, 3)) + 3 * meta_BM[:, 2:5] @ torch.tensor([1.0, 2.0, 0.0])
        return score_B[:, None].expand(-1, 7), {}


def test_of_a_sum_they_are_its_terms(tiny, lesion):
    """In a game without interactions every Shapley value is the player's own part."""
    saved = replace(tiny("gap"), model=Sum())
    heat = kernel_shap(saved, lesion, patient(saved), 4, samples=FEW)
    patch_SS, change_SS = (
        patches(lesion),
        (lesion.astype(float) - blurred(lesion)).mean(axis=2) / lesion[..., 0].size,
    )
    for index in range(patch_SS.max() + 1):
        inside_SS = patch_SS == index
        assert heat.heat_SS[inside_SS].sum() == pytest.approx(change_SS[inside_SS].sum(), abs=2e-3)
    assert heat.patient == pytest.approx({"age": 0, "sex": 6, "site": 0}, abs=2e-3)
