"""What every loss has to be, and what focal loss is besides."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dermlens.imbalance.config import CrossEntropyConfig, FocalConfig
from dermlens.imbalance.registry import all_losses, make_loss

LOSSES = all_losses()
every_loss = pytest.mark.parametrize("kind", LOSSES)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    logits_BC = 3 * torch.randn(16, 7, generator=generator, dtype=torch.float64)
    target_B = torch.randint(7, (16,), generator=generator)
    weight_C = torch.rand(7, generator=generator, dtype=torch.float64) + 0.1
    return logits_BC.requires_grad_(), target_B, weight_C


def default(kind):
    return type(LOSSES[kind].neutral)()


def gradient(value, logits_BC):
    return torch.autograd.grad(value, logits_BC)[0]


def test_recipes_offer_exactly_the_registered_losses():
    from typing import get_args

    from dermlens.imbalance.config import LossConfig

    union = get_args(LossConfig)[0]
    assert {config.model_fields["kind"].default for config in get_args(union)} == set(LOSSES)


@every_loss
def test_neutral_setting_is_weighted_cross_entropy_over_the_batch_size(kind, batch):
    """Every loss here generalises cross-entropy; at its neutral setting it must be it, gradient included."""
    logits_BC, target_B, weight_C = batch
    ours = make_loss(LOSSES[kind].neutral, weight_C)(logits_BC, target_B)
    theirs = (weight_C[target_B] * F.cross_entropy(logits_BC, target_B, reduction="none")).sum() / len(
        target_B
    )
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits_BC), gradient(theirs, logits_BC))


@every_loss
def test_order_of_classes_does_not_matter(kind, batch):
    logits_BC, target_B, weight_C = batch
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    where = torch.argsort(order)
    ours = make_loss(default(kind), weight_C)(logits_BC, target_B)
    permuted = make_loss(default(kind), weight_C[order])(logits_BC[:, order], where[target_B])
    torch.testing.assert_close(ours, permuted)


@every_loss
def test_gradient_is_the_slope(kind, batch):
    logits_BC, target_B, weight_C = batch
    loss = make_loss(default(kind), weight_C)
    assert torch.autograd.gradcheck(lambda logits: loss(logits, target_B), (logits_BC,))


@every_loss
def test_finite_where_the_network_is_sure(kind):
    """Right beyond rounding (p = 1), and wrong beyond rounding (p = 0)."""
    logits_BC = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = make_loss(default(kind), torch.ones(2))(logits_BC, torch.tensor([0, 0]))
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient(loss, logits_BC)).all()


@every_loss
def test_weights_times_a_constant_are_the_loss_times_it(kind, batch):
    logits_BC, target_B, weight_C = batch
    once, thrice = (make_loss(default(kind), c * weight_C)(logits_BC, target_B) for c in (1, 3))
    torch.testing.assert_close(3 * once, thrice)


def test_half_precision_logits_are_scored_in_full(batch):
    logits_BC, target_B, weight_C = batch
    half = logits_BC.detach().to(torch.bfloat16)
    loss = make_loss(CrossEntropyConfig(), weight_C.float())
    assert loss(half, target_B).dtype == torch.float32
    torch.testing.assert_close(loss(half, target_B), loss(half.float(), target_B))


def test_focal_by_hand():
    """p = 3/4 and γ = 2: (1/4)² · −ln(3/4)."""
    logits_BC = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    loss = make_loss(FocalConfig(gamma=2.0), torch.ones(2, dtype=torch.float64))
    assert loss(logits_BC, torch.tensor([0])).item() == pytest.approx(0.0625 * 0.2876820724517809)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_fades_easy_examples_the_more_the_easier(gamma):
    logits_BC = torch.tensor([[0.0, 0.0], [2.0, 0.0], [6.0, 0.0]])
    target = torch.zeros(1, dtype=torch.int64)
    focal, plain = (make_loss(FocalConfig(gamma=g), torch.ones(2)) for g in (gamma, 0.0))
    share = [float(focal(row[None], target) / plain(row[None], target)) for row in logits_BC]
    assert 1 > share[0] > share[1] > share[2] > 0
