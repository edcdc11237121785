"""What every method must hold to; a new row of METHODS is tested here unasked."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from dermlens.errors import UserError
from dermlens.explain.methods import METHODS, choose

from .conftest import SIDE, TINY, draw_of, patient

KINDS = [*TINY, "plain"]
EVERY = pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in METHODS for kind in KINDS])


@EVERY
def test_heat_is_a_finite_square_and_adds_up_where_it_says_so(name, kind, tiny, explain, lesion):
    saved = tiny(kind)
    if reason := METHODS[name].why_not(saved):
        with pytest.raises(UserError, match=rf"--method {name}.*{reason}"):
            choose(saved, [name])
        return
    before = {key: value.clone() for key, value in saved.model.state_dict().items()}
    heat = explain(name, kind)
    assert heat.heat_SS.shape == (SIDE, SIDE)
    assert heat.heat_SS.dtype == np.float64
    assert np.isfinite(heat.heat_SS).all()
    assert METHODS[name].signed or heat.heat_SS.min() >= 0
    assert all(torch.equal(value, before[key]) for key, value in saved.model.state_dict().items())
    assert not saved.model.training
    if heat.rest is not None:
        x_BCHW = torch.from_numpy(lesion).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits_BC, _ = saved.model(x_BCHW, torch.from_numpy(patient(saved))[None])
        score_C = logits_BC[0].double().numpy()
        score = score_C[4] - np.delete(score_C, 4).mean() if name == "contrast" else score_C[4]
        assert heat.heat_SS.sum() + sum(heat.patient.values()) + heat.rest == pytest.approx(score, abs=2e-4)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_question_gets_the_same_answer_after_any_other(name, tiny, lesion):
    saved, draw = tiny("attention"), draw_of(name)
    first = draw(saved, lesion, patient(saved), 4)
    draw(saved, lesion[::-1].copy(), patient(saved, None), 5)
    np.testing.assert_array_equal(draw(saved, lesion, patient(saved), 4).heat_SS, first.heat_SS)


@pytest.mark.parametrize("name", METHODS)
def test_classes_have_maps_of_their_own_but_for_attention(name, explain):
    maps = {explain(name, "attention", target).heat_SS.tobytes() for target in (0, 4, 5)}
    assert len(maps) == (1 if name == "attention" else 3)


def test_all_that_fit_are_chosen_where_none_is_named(tiny):
    assert choose(tiny("attention"), []) == list(METHODS)
    assert "attention" not in choose(tiny("gap"), [])
    assert choose(tiny("plain"), []) == ["occlusion", "kernel_shap"]
    assert choose(tiny("gap"), ["evidence", "evidence"]) == ["evidence"]


def test_an_unknown_method_is_told_its_nearest(tiny):
    with pytest.raises(UserError, match=r"gradcam.*nearest: grad_cam"):
        choose(tiny("gap"), ["gradcam"])


@pytest.mark.parametrize("name", ["grad_cam", "occlusion", "kernel_shap"])
def test_a_missing_package_is_said_with_its_remedy(name, tiny, lesion, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    saved = tiny("gap")
    with pytest.raises(UserError, match=r"pip install 'dermlens\[explain\]'"):
        METHODS[name].draw(saved, lesion, patient(saved), 4)
