"""The average of the weights against its recursion, written out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dermlens.training.checkpoints import WeightAverage
from dermlens.training.task import LesionTask


@pytest.fixture
def task():
    task = LesionTask.__new__(LesionTask)
    nn.Module.__init__(task)
    task.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    return task


def step(task, callback, number):
    """A training step that moves weights and statistics."""
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.add_(torch.randn_like(parameter))
    task.model(torch.randn(8, 3))
    callback.on_train_batch_end(SimpleNamespace(global_step=number), task, None, None, 0)


def copy(task):
    return {name: tensor.clone() for name, tensor in task.model.state_dict().items()}


def test_is_the_recursion_with_its_warm_up(task):
    callback = WeightAverage(0.5)
    callback.on_fit_start(None, task)
    expected = copy(task)
    for number in range(1, 20):
        step(task, callback, number)
        decay = min(0.5, (1 + number) / (10 + number))
        for name, now in task.model.state_dict().items():
            average = decay * expected[name] + (1 - decay) * now
            expected[name] = average if now.is_floating_point() else now.clone()
    torch.testing.assert_close(callback.average, expected)
    assert callback.average["1.num_batches_tracked"] == 19


def test_stands_in_for_validation_and_steps_back(task):
    callback = WeightAverage(0.9)
    callback.on_fit_start(None, task)
    for number in range(1, 5):
        step(task, callback, number)
    weights, average = copy(task), {name: tensor.clone() for name, tensor in callback.average.items()}
    callback.on_validation_start(None, task)
    torch.testing.assert_close(copy(task), average, rtol=0, atol=0)
    callback.on_validation_end(None, task)
    torch.testing.assert_close(copy(task), weights, rtol=0, atol=0)
    torch.testing.assert_close(callback.average, average, rtol=0, atol=0)


def test_goes_on_from_its_state(task):
    whole = WeightAverage(0.9)
    whole.on_fit_start(None, task)
    step(task, whole, 1)
    resumed = WeightAverage(0.9)
    resumed.load_state_dict(whole.state_dict())
    resumed.on_fit_start(None, task)
    torch.testing.assert_close(resumed.average, whole.average, rtol=0, atol=0)
    assert all(resumed.average[name] is not whole.average[name] for name in whole.average)
