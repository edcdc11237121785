"""Heads against hand computations, torch.distributions and scikit-learn; what each of the five promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Independent, Normal, kl_divergence

from dermlens import metrics
from related.heads import (
    FittedHead,
    HeadRecipe,
    drawn_logits,
    gaussian_kl,
    prior_mean,
    variational_loss,
)

KINDS = ["plain", "temperature", "dropout", "ensemble", "variational"]


def recipe(head, **keys):
    return HeadRecipe(
        **({"name": head, "head": head, "hidden": 16, "epochs": 12, "lr": 2e-2, "batch_size": 80} | keys)
    )


@pytest.fixture(scope="module")
def images():
    """Three classes of 3:2:1 that overlap, two images a lesion; the second half is not trained on."""
    rng = np.random.default_rng(3)
    target_N = np.repeat(rng.choice(3, size=240, p=[1 / 2, 1 / 3, 1 / 6]), 2)
    features_NF = rng.normal(size=(480, 5)) + 0.8 * np.eye(3, 5)[target_N]
    lesion_N = np.repeat(np.arange(240), 2).astype(str)
    return features_NF.astype(np.float32), target_N, lesion_N


def fitted(images, head, seed=0, **keys):
    features_NF, target_N, lesion_N = (part[:240] for part in images)
    return FittedHead(recipe(head, **keys), seed).fit(features_NF, target_N, lesion_N, 3)


def test_divergence_by_hand_and_of_torch():
    """½·[(s² + (μ − m)²)/s₀² − 1 − ln(s²/s₀²)]: with s 1, μ − m 2, s₀ 2 it is ½·(5/4 − 1 + ln 4)."""
    one = gaussian_kl(
        torch.tensor([[2.0]]).double(), torch.zeros(1, 1).double(), torch.zeros(1).double(), 2.0
    )
    assert one.item() == pytest.approx(0.5 * (1.25 - 1 + np.log(4)), abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    mean_NC, log_variance_NC = (torch.randn(4, 7, generator=generator).double() for _ in range(2))
    prior_C = torch.randn(7, generator=generator).double()
    theirs_N = kl_divergence(
        Independent(Normal(mean_NC, (0.5 * log_variance_NC).exp()), 1),
        Independent(Normal(prior_C.expand(4, 7), torch.full((4, 7), 1.5).double()), 1),
    )
    torch.testing.assert_close(gaussian_kl(mean_NC, log_variance_NC, prior_C, 1.5), theirs_N)


def test_divergence_is_zero_at_the_prior_alone():
    prior_C = torch.tensor([0.3, -0.3]).double()
    same = torch.full((1, 2), 2 * np.log(3.0)).double()
    assert gaussian_kl(prior_C[None], same, prior_C, 3.0).item() == pytest.approx(0, abs=1e-12)
    assert gaussian_kl(prior_C[None] + 0.1, same, prior_C, 3.0).item() > 0


def test_a_loss_without_variance_and_prior_is_cross_entropy():
    """Its gradient too; with λ it grows by λ times the mean divergence, under the same draw."""
    generator = torch.Generator().manual_seed(1)
    mean_NC = torch.randn(6, 3, generator=generator).double().requires_grad_()
    target_N, prior_C = torch.tensor([0, 1, 2, 0, 1, 2]), torch.zeros(3).double()
    narrow_NC = torch.full((6, 3), -80.0).double()

    def loss(log_variance_NC, kl):
        draws = torch.Generator().manual_seed(2)
        return variational_loss(
            mean_NC, log_variance_NC, target_N, prior_C, prior_sd=2.0, kl=kl, generator=draws
        )

    ours, theirs = loss(narrow_NC, 0.0), F.cross_entropy(mean_NC, target_N)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(one, mean_NC)[0] for one in (ours, theirs)))
    wide_NC = torch.zeros(6, 3).double()
    added = loss(wide_NC, 0.5) - loss(wide_NC, 0.0)
    torch.testing.assert_close(added, 0.5 * gaussian_kl(mean_NC, wide_NC, prior_C, 2.0).mean())


def test_draws_have_the_mean_and_variance_that_were_asked_for_and_pass_gradients():
    mean_NC = torch.tensor([[1.0, -2.0]]).double().requires_grad_()
    log_variance_NC = torch.tensor([[0.0, np.log(4.0)]]).double().requires_grad_()
    f_KNC = drawn_logits(mean_NC, log_variance_NC, 200_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(f_KNC.mean(0), mean_NC, atol=0.02, rtol=0)
    torch.testing.assert_close(f_KNC.var(0), log_variance_NC.exp(), atol=0.05, rtol=0)
    f_KNC.square().mean(0).sum().backward()  # E f² = μ² + s²
    torch.testing.assert_close(mean_NC.grad, 2 * mean_NC.detach(), atol=0.05, rtol=0)
    torch.testing.assert_close(log_variance_NC.grad, log_variance_NC.detach().exp(), atol=0.1, rtol=0)


def test_the_priors_softmax_is_the_class_shares():
    shares_C = prior_mean(np.array([0, 0, 0, 1, 2, 2]), 3).softmax(0)
    np.testing.assert_allclose(shares_C.numpy(), [1 / 2, 1 / 6, 1 / 3], rtol=1e-6)
    assert torch.isfinite(prior_mean(np.array([0, 0]), 2)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_head_gives_probabilities_that_learn_and_repeat(images, kind):
    head = fitted(images, kind)
    p_NC = head.probabilities(images[0][240:])
    np.testing.assert_allclose(p_NC.sum(1), 1, atol=1e-9)
    shares_C = np.bincount(images[1][:240]) / 240
    constant = float(metrics.log_loss(images[1][240:], np.tile(shares_C, (240, 1))))
    assert float(metrics.log_loss(images[1][240:], p_NC)) < constant
    np.testing.assert_array_equal(p_NC, head.probabilities(images[0][240:]))
    np.testing.assert_array_equal(p_NC, fitted(images, kind).probabilities(images[0][240:]))
    assert not np.array_equal(p_NC, fitted(images, kind, seed=1).probabilities(images[0][240:]))


def test_a_temperature_changes_no_order_and_cools_a_head_that_is_too_sure(images):
    """Trained long enough to know its images by heart, the head is too sure of others."""
    long = {"epochs": 60, "weight_decay": 0.0, "batch_size": 240, "lr": 0.05, "folds": 2}
    plain, scaled = (fitted(images, kind, **long) for kind in ("plain", "temperature"))
    assert scaled.temperature > 1
    p_NC, q_NC = (one.probabilities(images[0][240:]) for one in (plain, scaled))
    ours_NC = p_NC ** (1 / scaled.temperature)
    np.testing.assert_allclose(q_NC, ours_NC / ours_NC.sum(1, keepdims=True), atol=1e-6)
    assert float(metrics.log_loss(images[1][240:], q_NC)) < float(metrics.log_loss(images[1][240:], p_NC))


def test_an_ensemble_is_the_mean_of_its_members(images):
    ensemble = fitted(images, "ensemble", members=3)
    each_KNC = []
    for member in ensemble.heads:
        alone = fitted(images, "plain")
        alone.heads = [member]
        each_KNC.append(alone.probabilities(images[0]))
    np.testing.assert_allclose(ensemble.probabilities(images[0]), np.mean(each_KNC, axis=0), atol=1e-9)
    assert np.ptp(each_KNC, axis=0).max() > 0.01
    assert ensemble.parameters == 3 * fitted(images, "plain").parameters


def test_dropout_leaves_the_head_as_it_was(images):
    """In prediction units drop, and the mean of many draws is near no single one; afterwards nothing does."""
    head = fitted(images, "dropout", draws=50)
    p_NC = head.probabilities(images[0])
    head.recipe = head.recipe.model_copy(update={"draws": 1})
    assert np.abs(p_NC - head.probabilities(images[0])).max() > 0.02
    assert not head.heads[0].training


def test_a_strong_prior_gives_the_class_shares(images):
    """λ → ∞ leaves the prior: logits of the shares, with its width around them."""
    head = fitted(
        images, "variational", kl=1e4, prior_sd=0.05, epochs=100, lr=3e-2, draws=200, batch_size=240
    )
    shares_C = np.bincount(images[1][:240]) / 240
    assert np.abs(head.probabilities(images[0]) - shares_C).max() < 0.06
