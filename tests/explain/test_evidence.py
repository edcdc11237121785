"""Evidence is exact: its oracle is the network's own last layer."""

from __future__ import annotations

import pytest
import torch

from .conftest import TINY, patient


@pytest.mark.parametrize("kind", TINY)
def test_the_rest_is_the_bias_and_the_patient(kind, tiny, explain):
    saved = tiny(kind)
    head = saved.model.head
    with torch.no_grad():
        told_BD = head.branch(torch.from_numpy(patient(saved))[None])
        width = head.linear.weight.shape[1] - told_BD.shape[1]
        rest = head.linear.bias[4] + told_BD[0] @ head.linear.weight[4, width:]
    assert explain("evidence", kind).rest == pytest.approx(float(rest), abs=1e-4)


def test_contrasts_of_all_classes_cancel(explain):
    """Each is evidence for a class less the mean of the others, so that together they say nothing."""
    total_SS = sum(explain("contrast", "gap", target).heat_SS for target in range(7))
    assert abs(total_SS).max() < 1e-6
