"""The teacher, the memories and the two losses of CRCKD, by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from related.crckd import (
    TEMPERATURE,
    Contrast,
    Memory,
    centroids,
    consistency_weight,
    draw_contrasts,
    follow,
    relation_loss,
    teacher_decay,
)


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double(), dim=-1)


def test_the_teacher_begins_as_the_student_and_then_lags():
    assert [teacher_decay(step) for step in (0, 1, 3, 99, 5000)] == pytest.approx([0, 0.5, 0.75, 0.99, 0.99])
    student = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        teacher[0].weight.add_(1)
        student[1].running_mean.add_(5)
    before = teacher[0].weight.clone()
    follow(teacher, student, step=3)
    torch.testing.assert_close(teacher[0].weight, 0.75 * before + 0.25 * student[0].weight)
    assert (teacher[1].running_mean == 0).all()  # buffers are its own
    follow(teacher, student, step=0)
    torch.testing.assert_close(teacher[0].weight, student[0].weight)


def test_consistency_rises_over_thirty_epochs():
    assert consistency_weight(0) == pytest.approx(math.exp(-5))
    assert consistency_weight(15) == pytest.approx(math.exp(-1.25))
    assert consistency_weight(30) == consistency_weight(80) == 1


def test_a_memory_is_a_running_mean_of_length_one():
    torch.manual_seed(0)
    memory = Memory(5, 12)
    assert memory.bank_MD.abs().max() <= 0.5  # 1/√(12/3)
    before, new = memory.bank_MD.clone(), unit(2, 12).float()
    memory.remember(torch.tensor([3, 1]), new)
    torch.testing.assert_close(memory.bank_MD[3], F.normalize((before[3] + new[0]) / 2, dim=0))
    torch.testing.assert_close(memory.bank_MD[1], F.normalize((before[1] + new[1]) / 2, dim=0))
    torch.testing.assert_close(memory.bank_MD[[0, 2, 4]], before[[0, 2, 4]])
    assert "bank_MD" in memory.state_dict()  # a resumed run goes on with it


def test_contrasts_are_of_the_right_classes_and_the_image_comes_first():
    target_M = torch.tensor([0] * 10 + [1] * 3 + [2] * 7)
    row_B = torch.tensor([4, 11, 19])
    same_BP, other_BK = draw_contrasts(row_B, target_M, 5, 8, torch.Generator().manual_seed(2))
    assert same_BP.shape == (3, 5)
    assert (same_BP[:, 0] == row_B).all()
    assert (target_M[same_BP] == target_M[row_B][:, None]).all()  # class 1 has three: drawn with replacement
    assert (target_M[other_BK] != target_M[row_B][:, None]).all()
    assert len(set(other_BK[0].tolist())) == 8


def test_contrast_by_hand():
    bank_MD, e_BD = unit(9, 4, seed=1), unit(2, 4, seed=2)
    same_BP, other_BK = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[4, 5, 6], [6, 7, 8]])
    loss = Contrast(9).double()
    first = loss(e_BD, bank_MD, same_BP, other_BK)
    raised = [
        [math.exp(float(e_BD[i] @ bank_MD[j]) / TEMPERATURE) for j in (*same_BP[i], *other_BK[i])]
        for i in range(2)
    ]
    z = 9 * sum(map(sum, raised)) / 10
    expected = 0.0
    for row in raised:
        h = [value / z for value in row]
        expected -= sum(math.log(one / (one + 3 / 9)) for one in h[:2]) / 2
        expected -= sum(math.log((3 / 9) / (one + 3 / 9)) for one in h[2:])
    assert first.item() == pytest.approx(expected / 2)
    loss(unit(2, 4, seed=3), bank_MD, same_BP, other_BK)
    assert loss.z.item() == pytest.approx(z)  # it stays as the first batch left it


def test_contrast_draws_to_the_same_class_and_gives_the_memory_no_gradient():
    bank_MD = torch.eye(3, dtype=torch.float64).requires_grad_()
    e_BD = torch.tensor([[0.6, 0.6, 0.0]], dtype=torch.float64, requires_grad=True)
    Contrast(3).double()(e_BD, bank_MD, torch.tensor([[0]]), torch.tensor([[1, 2]])).backward()
    assert e_BD.grad[0, 0] < 0 < e_BD.grad[0, 1]
    assert bank_MD.grad is None


def test_centroids_by_hand():
    bank_MD = torch.tensor([[3.0, -1.0], [1.0, 4.0], [0.0, -2.0], [0.0, 5.0]])
    found = centroids(bank_MD, torch.tensor([0, 0, 1, 1]), 3)
    torch.testing.assert_close(found[0], F.normalize(torch.tensor([2.0, 2.0]), dim=0))
    torch.testing.assert_close(found[1], torch.tensor([0.0, 1.0]))
    assert (found[2] == 0).all()  # a class that is not there


def test_relation_by_hand_and_none_where_the_networks_agree():
    s_BD, t_BD, s_CD, t_CD = unit(2, 4), unit(2, 4, seed=1), unit(3, 4, seed=2), unit(3, 4, seed=3)
    total = 0.0
    for i in range(2):
        r_s = ((s_BD[i] @ s_CD.T) / TEMPERATURE).softmax(0).tolist()
        r_t = ((t_BD[i] @ t_CD.T) / TEMPERATURE).softmax(0).tolist()
        total += sum(t * math.log(t / s) for t, s in zip(r_t, r_s, strict=True))
    assert relation_loss(s_BD, t_BD, s_CD, t_CD).item() == pytest.approx(total / 2)
    assert relation_loss(s_BD, s_BD, s_CD, s_CD).item() == pytest.approx(0, abs=1e-9)
    t_BD.requires_grad_()
    relation_loss(s_BD.requires_grad_(), t_BD, s_CD, t_CD).backward()
    assert t_BD.grad is None
    assert s_BD.grad is not None
