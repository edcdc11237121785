"""An epoch's numbers against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, recall_score
from torch.nn.functional import cross_entropy

from dermlens.training.task import Tally


@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_agrees_with_scikit_learn_however_the_epoch_is_cut(seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    logits_NC = torch.randn(sum(sizes), 4, generator=generator, dtype=torch.float64)
    target_N = torch.randint(3, (sum(sizes),), generator=generator)  # class 3 never comes
    tally = Tally(4, torch.device("cpu"))
    for logits_BC, target_B in zip(logits_NC.split(sizes), target_N.split(sizes), strict=True):
        tally.add(cross_entropy(logits_BC, target_B), logits_BC, target_B)
    summary = tally.summary(lambda tensor: tensor)
    predicted = logits_NC.argmax(1)
    assert summary["loss"] == pytest.approx(log_loss(target_N, logits_NC.softmax(1), labels=[0, 1, 2, 3]))
    assert summary["accuracy"] == pytest.approx(accuracy_score(target_N, predicted))
    present = sorted(set(target_N.tolist()))
    recall = recall_score(target_N, predicted, labels=present, average="macro", zero_division=0)
    assert summary["mean_recall"] == pytest.approx(recall)


def test_sums_over_processes():
    halves = []
    for target, right in ((0, True), (1, False), (1, True)):
        tally = Tally(2, torch.device("cpu"))
        logits = torch.zeros(1, 2)
        logits[0, target if right else 1 - target] = 1
        tally.add(torch.tensor(float(target)), logits, torch.tensor([target]))
        halves.append(tally)
    totals = iter([sum(t.confusion_CC for t in halves), sum(t.loss for t in halves)])
    summary = halves[0].summary(lambda tensor: next(totals))
    assert summary == pytest.approx({"loss": 2 / 3, "accuracy": 2 / 3, "mean_recall": 0.75})
