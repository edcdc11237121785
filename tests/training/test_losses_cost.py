"""Losses by cost and the multi-weighted loss, against sums written out by hand and the articles' formulas."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from dermlens.errors import UserError
from dermlens.sections import CrossEntropyConfig, MultiWeightedConfig, RealWorldWeightConfig
from dermlens.training.losses import make_loss
from dermlens.training.losses_cost import CumulativeLearning, cumulative_alpha, log_missing, make_ramp

HAM10000 = {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(8)
    logits_BC = 2 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    return logits_BC.requires_grad_(), torch.tensor([0, 1, 2, 1, 0, 2])


# Real-world-weight cross-entropy.


def test_costs_by_hand(batch):
    """−(1/C)·[w_y·ln p_y + Σ_{k≠y} W_{y,k}·ln(1 − p_k)], image by image in plain numbers."""
    logits_BC, target_B = batch
    missed, costs = [2.0, 1.0, 5.0], ((9.0, 1.0, 2.0), (0.5, 9.0, 3.0), (4.0, 0.0, 9.0))
    loss = make_loss(RealWorldWeightConfig(costs=costs), torch.tensor(missed, dtype=torch.float64))
    expected = []
    for row, y in zip(logits_BC.tolist(), target_B.tolist(), strict=True):
        p = np.exp(row) / np.exp(row).sum()
        wrong = sum(costs[y][k] * math.log(1 - p[k]) for k in range(3) if k != y)
        expected.append(-(missed[y] * math.log(p[y]) + wrong) / 3)
    torch.testing.assert_close(
        loss.per_image(logits_BC, target_B), torch.tensor(expected, dtype=torch.float64)
    )


def test_two_classes_are_the_binary_form():
    """−[w_fn·y·ln p + w_fp·(1 − y)·ln(1 − p)]: naming 1 where 0 is true costs w_fp, missing 1 costs w_fn."""
    z = torch.tensor([1.5, -0.7], dtype=torch.float64)
    logits_BC = torch.stack([torch.zeros(2, dtype=torch.float64), z], dim=1)
    config = RealWorldWeightConfig(costs=((0.0, 7.0), (0.0, 0.0)), mean_over_classes=False)
    loss = make_loss(config, torch.tensor([0.0, 3.0], dtype=torch.float64))
    positive = loss.per_image(logits_BC, torch.tensor([1, 1]))
    negative = loss.per_image(logits_BC, torch.tensor([0, 0]))
    torch.testing.assert_close(positive, -3 * F.logsigmoid(z))
    torch.testing.assert_close(negative, -7 * F.logsigmoid(-z))


def test_costs_of_nothing_are_cross_entropy_over_the_classes(batch):
    logits_BC, target_B = batch
    ours = make_loss(RealWorldWeightConfig(), torch.ones(3, dtype=torch.float64))(logits_BC, target_B)
    torch.testing.assert_close(ours, F.cross_entropy(logits_BC, target_B) / 3)


def test_a_certain_mistake_costs_a_finite_number_with_a_slope():
    logits_BC = torch.tensor([[0.0, 500.0, 0.0]], requires_grad=True)
    loss = make_loss(RealWorldWeightConfig(costs=((0.0, 1.0, 1.0),) * 3), torch.zeros(3))
    value = loss(logits_BC, torch.tensor([0]))
    assert value.item() == pytest.approx((500 - math.log(2)) / 3, rel=1e-5)
    (slope,) = torch.autograd.grad(value, logits_BC)
    assert torch.isfinite(slope).all()
    assert slope[0, 1] > 0


def test_log_missing_is_exact_where_it_can_be_computed_plainly(batch):
    logits_BC, _ = batch
    torch.testing.assert_close(log_missing(logits_BC), torch.log1p(-logits_BC.softmax(1)))


def test_a_dearer_confusion_is_made_less():
    """Descent on the loss moves probability from the dear wrong class to the cheap one."""
    logits_BC = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    loss = make_loss(
        RealWorldWeightConfig(costs=((0.0, 10.0, 1.0), (1.0,) * 3, (1.0,) * 3)), torch.ones(3).double()
    )
    (slope,) = torch.autograd.grad(loss(logits_BC, torch.tensor([0])), logits_BC)
    assert slope[0, 1] > slope[0, 2]


def test_costs_that_do_not_fit_are_refused(batch):
    logits_BC, target_B = batch
    loss = make_loss(RealWorldWeightConfig(costs=((0.0, 1.0), (1.0, 0.0))), torch.ones(3))
    with pytest.raises(UserError, match="3 rows of 3 numbers"):
        loss(logits_BC, target_B)


# The multi-weighted loss.


def test_weights_of_ham10000():
    """W_c = C·n_c^−α/Σ n_k^−α at α = 1.2 and at the 0.3 of epoch 40, worked out by hand from the counts."""
    counts = np.array(list(HAM10000.values()), dtype=float)
    for alpha, mel, df in ((1.2, 0.194, 2.957), (0.3, 0.767, 1.516)):
        power = counts**-alpha
        by_hand = dict(zip(HAM10000, 7 * power / power.sum(), strict=True))
        assert by_hand["mel"] == pytest.approx(mel, abs=6e-4)
        assert by_hand["df"] == pytest.approx(df, abs=6e-4)
        config = MultiWeightedConfig(alpha=alpha, beta=0.0, gamma=0.0, scale=1.0)
        prior_C = torch.tensor(counts / counts.sum())
        loss = make_loss(config, torch.ones(7, dtype=torch.float64), prior_C)
        zeros = loss.per_image(torch.zeros(7, 7, dtype=torch.float64), torch.arange(7)) / math.log(2)
        np.testing.assert_allclose(zeros.numpy(), list(by_hand.values()))


def test_multi_weighted_by_hand(batch):
    logits_BC, target_B = batch
    prior = np.array([0.1, 0.7, 0.2])
    config = MultiWeightedConfig(alpha=0.5, gamma=2.0, beta=0.3, scale=30.0, factors=(1.0, 2.0, 1.0))
    loss = make_loss(config, torch.ones(3, dtype=torch.float64), torch.tensor(prior))
    power = (np.array([1.0, 2.0, 1.0]) / prior) ** 0.5
    weight = 3 * power / power.sum()
    expected = []
    for row, y in zip(logits_BC.tolist(), target_B.tolist(), strict=True):
        total = 0.0
        for j, z in enumerate(row):
            p = 1 / (1 + math.exp(-z))
            b, factor = (-math.log(p), (1 - p) ** 2) if j == y else (-math.log(1 - p), p**2)
            total += factor * min(b, -math.log(0.3))
        expected.append(30 * weight[y] * total / 3)
    torch.testing.assert_close(
        loss.per_image(logits_BC, target_B), torch.tensor(expected, dtype=torch.float64)
    )


def test_without_its_weights_it_is_the_mean_of_binary_cross_entropies(batch):
    logits_BC, target_B = batch
    config = MultiWeightedConfig(alpha=0.0, gamma=0.0, beta=0.0, scale=1.0)
    ours = make_loss(config, torch.ones(3, dtype=torch.float64))(logits_BC, target_B)
    theirs = F.binary_cross_entropy_with_logits(logits_BC, F.one_hot(target_B, 3).double())
    torch.testing.assert_close(ours, theirs)


def test_a_cut_off_outlier_still_has_the_slope_of_its_focal_factor():
    """b = −log β is a constant there, and d/dz of (1 − σ)² is −2·(1 − σ)²·σ."""
    z = -4.0
    logits_BC = torch.tensor([[z, -40.0]], dtype=torch.float64, requires_grad=True)
    config = MultiWeightedConfig(alpha=0.0, beta=0.1, scale=1.0)
    value = make_loss(config, torch.ones(2, dtype=torch.float64))(logits_BC, torch.tensor([0]))
    (slope,) = torch.autograd.grad(value, logits_BC)
    sigma = 1 / (1 + math.exp(-z))
    by_hand = -2 * (1 - sigma) ** 2 * sigma * -math.log(0.1) / 2
    assert slope[0, 0].item() == pytest.approx(by_hand)


@pytest.mark.parametrize("size", [100.0, 1000.0])
def test_no_logit_is_too_large(size):
    """log(1 + e^−x) overflows below −88 in single precision; a sigmoid does not."""
    logits_BC = torch.tensor([[size, -size], [-size, size]], requires_grad=True)
    value = make_loss(MultiWeightedConfig(), torch.ones(2))(logits_BC, torch.tensor([0, 0]))
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, logits_BC)[0]).all()


def test_cumulative_learning_rises_as_published():
    """α(t) = 0 to epoch 20, α·((t − 20)/40)² between, α from 60 of 70."""
    alphas = [cumulative_alpha(1.2, t, 70, (20 / 70, 60 / 70)) for t in (0, 20, 30, 40, 60, 69)]
    assert alphas == pytest.approx([0, 0, 1.2 / 16, 0.3, 1.2, 1.2])
    assert cumulative_alpha(1.2, 0, 70, None) == 1.2
    scaled = [cumulative_alpha(1.2, t, 7, (20 / 70, 60 / 70)) for t in range(7)]
    assert scaled == sorted(scaled)
    assert scaled[2] == pytest.approx(0, abs=1e-12)
    assert scaled[6] == 1.2


def test_the_callback_sets_alpha_of_what_is_trained_and_of_nothing_else():
    config = MultiWeightedConfig()
    task = nn.Module()
    task.loss, task.plain_loss = (make_loss(config, torch.ones(3)) for _ in range(2))
    ramp = make_ramp(config)
    assert isinstance(ramp, CumulativeLearning)
    for epoch, alpha in ((40, 0.3), (0, 0.0), (65, 1.2)):  # whatever came before, as after a resume
        ramp.on_train_epoch_start(SimpleNamespace(max_epochs=70, current_epoch=epoch), task)
        assert task.loss.settings["alpha"] == pytest.approx(alpha)
        assert task.plain_loss.settings["alpha"] == 1.2


def test_only_a_loss_that_moves_has_a_ramp():
    assert make_ramp(CrossEntropyConfig()) is None
    assert make_ramp(MultiWeightedConfig(cumulative=None)) is None
    with pytest.raises(ValidationError, match="must end after"):
        MultiWeightedConfig(cumulative=(0.5, 0.5))
