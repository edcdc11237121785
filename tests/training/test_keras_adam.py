"""Keras's Adam against NumPy and against PyTorch's own by their identity; what the scale of a loss does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from dermlens.training.optimisers import KerasAdam

STEPS = 20


def reference(p, grads, *, lr, eps, beta1=0.9, beta2=0.999):
    """Keras 2's update, written out from its documentation's formula, one step a gradient."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - lr * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps)
    return p


@pytest.mark.parametrize("eps", [0.1, 1e-7])
def test_agrees_with_the_formula(eps):
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(4, 3)), rng.normal(size=(STEPS, 4, 3))
    p = nn.Parameter(torch.tensor(start))
    optimizer = KerasAdam([p], lr=0.01, eps=eps)
    for g in grads:
        p.grad = torch.tensor(g)
        optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), reference(start, grads, lr=0.01, eps=eps), rtol=1e-12)


def test_is_pytorchs_adam_with_an_epsilon_that_shrinks_by_step():
    rng = np.random.default_rng(1)
    start, grads = rng.normal(size=5), rng.normal(size=(STEPS, 5))
    ours, theirs = (nn.Parameter(torch.tensor(start)) for _ in range(2))
    keras, adam = KerasAdam([ours], lr=0.01, eps=0.1), torch.optim.Adam([theirs], lr=0.01)
    for t, g in enumerate(grads, start=1):
        adam.param_groups[0]["eps"] = 0.1 / math.sqrt(1 - 0.999**t)
        for p, optimizer in ((ours, keras), (theirs, adam)):
            p.grad = torch.tensor(g)
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    assert 0.1 / math.sqrt(1 - 0.999) == pytest.approx(3.2, abs=0.05)  # where the effective ε begins


def test_a_parameter_that_thaws_late_counts_its_own_steps():
    thawed, fresh = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    other = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = KerasAdam([thawed, other], lr=0.01, eps=0.1)
    for _ in range(5):
        other.grad = torch.ones_like(other)
        optimizer.step()
    torch.testing.assert_close(thawed, fresh, rtol=0, atol=0)
    alone = KerasAdam([fresh], lr=0.01, eps=0.1)
    thawed.grad, fresh.grad = torch.full_like(thawed, 2.0), torch.full_like(fresh, 2.0)
    optimizer.step()
    alone.step()
    torch.testing.assert_close(thawed, fresh, rtol=0, atol=0)


def test_resumes_from_its_state():
    grads = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    whole, cut = (nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = KerasAdam([whole], lr=0.1, eps=0.1)
    for g in grads:
        whole.grad = g.clone()
        optimizer.step()
    half = KerasAdam([cut], lr=0.1, eps=0.1)
    for i, g in enumerate(grads):
        if i == 3:
            state, half = half.state_dict(), KerasAdam([cut], lr=0.9, eps=0.9)
            half.load_state_dict(state)
        cut.grad = g.clone()
        half.step()
    torch.testing.assert_close(whole, cut, rtol=0, atol=0)


# What the scale of a loss does under Adam: the claim of design.md about `original` and `new` weights.


def keras(params, lr, eps):
    return KerasAdam(params, lr=lr, eps=eps)


def torchs(params, lr, eps):
    return torch.optim.Adam(params, lr=lr, eps=eps)


def trained(make, *, scale=1.0, lr=1e-3, eps=0.1):
    """A small network's parameters after some steps on a scaled loss, float64, always the same batches."""
    generator = torch.Generator().manual_seed(5)
    x_BD = torch.randn(STEPS, 16, 6, generator=generator, dtype=torch.float64)
    target_B = torch.randint(7, (STEPS, 16), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 7)).double()
    optimizer = make(net.parameters(), lr, eps)
    start = nn.utils.parameters_to_vector(net.parameters()).detach().clone()
    for x, target in zip(x_BD, target_B, strict=True):
        optimizer.zero_grad()
        (scale * nn.functional.cross_entropy(net(x), target)).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(net.parameters()).detach() - start


both = pytest.mark.parametrize("make", [keras, torchs])


@both
@pytest.mark.parametrize("c", [7.0, 1 / 32.476])
def test_loss_times_c_is_epsilon_over_c(make, c):
    scaled, equivalent = trained(make, scale=c), trained(make, eps=0.1 / c)
    torch.testing.assert_close(scaled, equivalent, rtol=1e-9, atol=1e-15)
    assert (scaled - trained(make)).abs().max() > 1e-2 * scaled.abs().max()  # and c does matter here


def test_loss_times_a_power_of_two_is_epsilon_over_it_to_the_last_bit():
    """A power of two changes exponents alone, so that not even rounding tells the two runs apart."""
    assert torch.equal(trained(keras, scale=8.0), trained(keras, eps=0.1 / 8))


@both
def test_loss_times_c_approaches_learning_rate_times_c_as_epsilon_grows(make):
    """The error falls as 1/ε: with ε far above √v only m, and so the scale, is left."""
    errors = []
    for eps in (1.0, 1e2, 1e4):
        scaled, faster = trained(make, scale=7.0, eps=eps), trained(make, lr=7e-3, eps=eps)
        errors.append(float((scaled - faster).abs().max() / faster.abs().max()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-4


@both
def test_loss_times_c_is_nothing_as_epsilon_vanishes(make):
    errors = []
    for eps in (1e-4, 1e-7, 1e-12):
        plain, scaled = trained(make, eps=eps), trained(make, scale=7.0, eps=eps)
        errors.append(float((scaled - plain).abs().max() / plain.abs().max()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-6
