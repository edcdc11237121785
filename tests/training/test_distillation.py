"""Soft labels: the loss against PyTorch's cross-entropy, and the file."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from dermlens.errors import UserError
from dermlens.training.losses import distillation, read_soft_labels

CODES = ("mel", "nv")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(8, 7, generator=generator, dtype=torch.float64)
    soft = torch.randn(8, 7, generator=generator, dtype=torch.float64).softmax(1)
    return logits.requires_grad_(), soft


def test_at_temperature_one_it_is_cross_entropy_but_for_the_teachers_entropy(batch):
    logits, soft = batch
    entropy = -(soft * soft.log()).sum(1)
    theirs = F.cross_entropy(logits, soft, reduction="none") - entropy
    torch.testing.assert_close(distillation(logits, soft, 1.0), theirs)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_nothing_to_learn_from_a_teacher_that_says_the_same(batch, temperature):
    logits, _ = batch
    loss = distillation(logits, logits.softmax(1).detach(), temperature)
    torch.testing.assert_close(loss, torch.zeros_like(loss), atol=1e-12, rtol=0)
    assert torch.autograd.grad(loss.sum(), logits)[0].abs().max() < 1e-12


def test_gradient_at_a_high_temperature_matches_logits(batch):
    """Hinton et al., §2.1: for T → ∞ and centred logits the gradient is (z − v)/C."""
    logits, soft = batch
    slope = torch.autograd.grad(distillation(logits, soft, 1e4).sum(), logits)[0]
    teacher = soft.log()
    centred = logits - logits.mean(1, keepdim=True) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(slope, centred / 7, atol=1e-3, rtol=1e-3)


def test_teacher_that_is_sure_leaves_it_finite():
    loss = distillation(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), 1.0)
    assert loss.item() == pytest.approx(0.6931472)


def write(path, rows, columns=("image_id", "p_mel", "p_nv")):
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False)
    return path


def test_rows_come_in_the_order_of_the_table(tmp_path):
    path = write(tmp_path / "soft.csv", [("b", 0.25, 0.75), ("a", 1.0, 0.0), ("z", 0.5, 0.5)])
    soft = read_soft_labels(path, pd.Series(["a", "unheard of", "b"]), CODES)
    assert soft.tolist() == [[1, 0], [0, 0], [0.25, 0.75]]


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        ([("a", 1.0)], ("image_id", "p_mel"), "column p_nv"),
        ([("a", 0.5, 0.5), ("a", 0.5, 0.5)], ("image_id", "p_mel", "p_nv"), "has a twice"),
        ([("a", 0.7, 0.7)], ("image_id", "p_mel", "p_nv"), "a: .*probabilities"),
        ([("a", None, 0.7)], ("image_id", "p_mel", "p_nv"), "a: .*probabilities"),
        (
            [("b", 0.5, 0.5), ("a", "half", 0.5)],
            ("image_id", "p_mel", "p_nv"),
            "row 3, image a: .*numbers",
        ),
        ([("q", 0.5, 0.5)], ("image_id", "p_mel", "p_nv"), "none of the images"),
    ],
)
def test_file_that_does_not_fit_is_named(tmp_path, rows, columns, words):
    path = write(tmp_path / "soft.csv", rows, columns)
    with pytest.raises(UserError, match=words) as caught:
        read_soft_labels(path, pd.Series(["a"]), CODES)
    assert "soft.csv" in str(caught.value)


def test_absent_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        read_soft_labels(tmp_path / "nowhere.csv", pd.Series(["a"]), CODES)
