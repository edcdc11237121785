"""What every loss has to be, and what else focal loss is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dermlens.sections import (
    BalancedSoftmaxConfig,
    CrossEntropyConfig,
    FocalConfig,
    LDAMConfig,
    LogitAdjustedConfig,
)
from dermlens.testing import check_loss
from dermlens.training.losses import all_losses, make_loss

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

    from dermlens.sections import OwnLoss

    union = get_args(OwnLoss)[0]
    assert {config.model_fields["kind"].default for config in get_args(union)} == set(LOSSES)


@every_loss
def test_every_loss_keeps_the_contract(kind):
    """At its neutral setting it is weighted cross-entropy, gradient included; and more."""
    check_loss(default(kind))


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


def test_prior_of_equal_shares_is_what_a_loss_without_one_has(batch):
    logits_BC, target_B, weight_C = batch
    uniform = torch.full_like(weight_C, 1 / 7)
    for kind in LOSSES:
        with_prior = make_loss(default(kind), weight_C, uniform)(logits_BC, target_B)
        torch.testing.assert_close(with_prior, make_loss(default(kind), weight_C)(logits_BC, target_B))


@every_loss
def test_loss_of_a_batch_is_the_mean_over_its_images(kind, batch):
    logits_BC, target_B, weight_C = batch
    loss = make_loss(default(kind), weight_C, torch.arange(1.0, 8.0, dtype=torch.float64) / 28)
    single = [loss(row[None], target[None]) for row, target in zip(logits_BC, target_B, strict=True)]
    torch.testing.assert_close(loss.per_image(logits_BC, target_B), torch.stack(single))


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
def test_smoothed_labels_are_a_mixture_with_the_uniform_one(batch, smoothing):
    """PyTorch's cross-entropy with a distribution for a target, written out by hand."""
    logits_BC, target_B, weight_C = batch
    soft_BC = (1 - smoothing) * F.one_hot(target_B, 7) + smoothing / 7
    theirs_B = weight_C[target_B] * F.cross_entropy(logits_BC, soft_BC, reduction="none")
    ours_B = make_loss(CrossEntropyConfig(smoothing=smoothing), weight_C).per_image(logits_BC, target_B)
    torch.testing.assert_close(ours_B, theirs_B)


def test_ldam_by_hand():
    """Priors 16 : 1, so that the margins are Δ/2 and Δ; both logits 0, the class must win by its margin."""
    prior_C = torch.tensor([16.0, 1.0], dtype=torch.float64) / 17
    loss = make_loss(LDAMConfig(max_margin=2.0), torch.ones(2, dtype=torch.float64), prior_C)
    losses_B = loss.per_image(torch.zeros(2, 2, dtype=torch.float64), torch.tensor([0, 1]))
    expected = [1.3132616875182228, 2.1269280110429727]  # ln(1 + e¹), ln(1 + e²)
    assert losses_B.tolist() == pytest.approx(expected)


def test_balanced_softmax_by_hand():
    """n = 9 and 1: at equal logits the softmax of training is 0.9 and 0.1."""
    prior_C = torch.tensor([0.9, 0.1], dtype=torch.float64)
    loss = make_loss(BalancedSoftmaxConfig(), torch.ones(2, dtype=torch.float64), prior_C)
    losses_B = loss.per_image(torch.zeros(2, 2, dtype=torch.float64), torch.tensor([0, 1]))
    assert losses_B.exp().tolist() == pytest.approx([1 / 0.9, 1 / 0.1])


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_logit_adjustment_is_undone_by_subtracting_the_prior(batch, tau):
    """The prior that training adds is the prior that is left out at prediction."""
    logits_BC, target_B, weight_C = batch
    prior_C = torch.arange(1.0, 8.0, dtype=torch.float64) / 28
    shifted_BC = logits_BC - tau * prior_C.log()
    ours = make_loss(LogitAdjustedConfig(tau=tau), weight_C, prior_C)(shifted_BC, target_B)
    torch.testing.assert_close(ours, make_loss(CrossEntropyConfig(), weight_C)(logits_BC, target_B))


def test_balanced_softmax_prefers_the_rare_class_where_cross_entropy_does_not():
    """With one logit vector for all images, cross-entropy learns the prior and balanced softmax none."""
    target_B = torch.tensor([0] * 90 + [1] * 10)
    prior_C = torch.tensor([0.9, 0.1])
    for config, expected in ((CrossEntropyConfig(), [0.9, 0.1]), (BalancedSoftmaxConfig(), [0.5, 0.5])):
        logits_C = torch.zeros(2, requires_grad=True)
        loss = make_loss(config, torch.ones(2), prior_C)
        optimizer = torch.optim.LBFGS([logits_C], max_iter=100, line_search_fn="strong_wolfe")

        def closure(loss=loss, logits_C=logits_C, optimizer=optimizer):
            optimizer.zero_grad()
            value = loss(logits_C.expand(100, 2), target_B)
            value.backward()
            return value

        optimizer.step(closure)
        assert logits_C.softmax(0).tolist() == pytest.approx(expected, abs=1e-3)


BY_SOURCE = [BalancedSoftmaxConfig(prior="source"), LogitAdjustedConfig(prior="source", tau=1.5)]
BY_SOURCE += [config.model_copy(update={"smoothing": 0.1}) for config in BY_SOURCE]
by_source = pytest.mark.parametrize("config", BY_SOURCE, ids=str)
PRIORS = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.0, 0.1]], dtype=torch.float64)


@by_source
def test_a_class_that_a_source_lacks_learns_nothing_from_its_images(config):
    """Neither its logit nor the loss knows of it; an image of the other source moves it."""
    logits_BC = torch.tensor([[0.3, 1.0, -0.5], [0.3, 1.0, -0.5]], dtype=torch.float64, requires_grad=True)
    target_B, source_B = torch.tensor([0, 0]), torch.tensor([1, 0])
    loss = make_loss(config, torch.ones(3, dtype=torch.float64), prior_SC=PRIORS)
    loss_B = loss.per_image(logits_BC, target_B, source_B)
    grad_BC = gradient(loss_B.sum(), logits_BC)
    assert torch.isfinite(grad_BC).all()
    assert grad_BC[0, 1] == 0
    assert grad_BC[1, 1] > 0
    other_BC = logits_BC.detach().clone()
    other_BC[0, 1] = 50
    torch.testing.assert_close(loss.per_image(other_BC, target_B, source_B)[0], loss_B[0].detach())
    alone = make_loss(config, torch.ones(2, dtype=torch.float64), prior_SC=PRIORS[1:, [0, 2]])
    two = alone.per_image(logits_BC[:1, [0, 2]], target_B[:1], torch.tensor([0]))
    torch.testing.assert_close(two, loss_B[:1])


@by_source
def test_an_image_is_scored_by_the_prior_of_its_own_source(config, batch):
    logits_BC, target_B, weight_C = batch
    prior_SC = torch.rand(4, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.05
    prior_SC /= prior_SC.sum(1, keepdim=True)
    source_B = torch.arange(16) % 4
    loss_B = make_loss(config, weight_C, prior_SC=prior_SC).per_image(logits_BC, target_B, source_B)
    sampled = config.model_copy(update={"prior": "sampled"})
    for source in range(4):
        own_B = source_B == source
        alone = make_loss(sampled, weight_C, prior_SC[source]).per_image(logits_BC[own_B], target_B[own_B])
        torch.testing.assert_close(loss_B[own_B], alone)


@by_source
def test_gradient_by_source_is_the_slope(config, batch):
    logits_BC, target_B, weight_C = batch
    prior_SC = torch.full((2, 7), 1 / 7, dtype=torch.float64)
    prior_SC[1] = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.05, 0.05, 0.0])
    target_B, source_B = target_B.clamp(max=5), torch.arange(16) % 2
    loss = make_loss(config, weight_C, prior_SC=prior_SC)
    assert torch.autograd.gradcheck(lambda logits: loss.per_image(logits, target_B, source_B), (logits_BC,))


def test_sources_that_differ_in_their_shares_alone_teach_no_shares():
    """One logit vector for two sources of shares 9 : 1 and 1 : 9: balanced softmax finds nothing to learn."""
    target_B, source_B = torch.tensor([0] * 90 + [1] * 10 + [0] * 10 + [1] * 90), torch.arange(200) // 100
    prior_SC = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    loss = make_loss(BalancedSoftmaxConfig(prior="source"), torch.ones(2), prior_SC=prior_SC)
    bias_SC = torch.zeros(2, 2, requires_grad=True)  # a network that knows the source
    grad_SC = gradient(loss.per_image(bias_SC[source_B], target_B, source_B).mean(), bias_SC)
    assert grad_SC.abs().max() < 1e-6
    pooled = make_loss(BalancedSoftmaxConfig(), torch.ones(2), torch.tensor([0.5, 0.5]))
    assert gradient(pooled.per_image(bias_SC[source_B], target_B).mean(), bias_SC).abs().max() > 0.1


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
def test_smoothing_at_equal_shares_is_torchs(smoothing, batch):
    logits_BC, target_B, weight_C = batch
    config = BalancedSoftmaxConfig(smoothing=smoothing)
    theirs_B = F.cross_entropy(logits_BC, target_B, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(
        make_loss(config, weight_C).per_image(logits_BC, target_B), weight_C[target_B] * theirs_B
    )


def test_smoothing_does_not_favour_what_is_rare_in_a_source():
    """Images of one class alone: the best logits still give each other class what its share is."""
    prior_SC = torch.tensor([[0.98, 0.015, 0.005]], dtype=torch.float64)
    loss = make_loss(
        BalancedSoftmaxConfig(prior="source", smoothing=0.1), torch.ones(3).double(), prior_SC=prior_SC
    )
    logits_C = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    target, source = torch.tensor([0]), torch.tensor([0])
    optimizer = torch.optim.LBFGS([logits_C], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss.per_image(logits_C[None], target, source).sum()
        value.backward()
        return value

    optimizer.step(closure)
    assert logits_C.tolist()[1] == pytest.approx(logits_C.tolist()[2], abs=1e-3)
