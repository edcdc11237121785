from __future__ import annotations

import numpy as np
import pytest

from dermlens.evaluation.calibration import ece, reliability


def two(confidence):
    return [confidence, 1 - confidence]


def test_by_hand():
    """Two bins in use: (0.6, 2/3] with 1 of 2 right at 0.65, (0.8, 0.8667] with 2 of 2 right at 0.85."""
    p_NC = np.array([two(0.65), two(0.65), two(0.85), two(0.85)])
    target_N = np.array([0, 1, 0, 0])
    assert ece(target_N, p_NC) == pytest.approx(0.5 * 0.15 + 0.5 * 0.15)
    used = [cell for cell in reliability(target_N, p_NC) if cell["count"]]
    assert [(cell["count"], cell["accuracy"]) for cell in used] == [(2, 0.5), (2, 1.0)]
    assert [cell["confidence"] for cell in used] == pytest.approx([0.65, 0.85])


def test_edges_belong_to_the_bin_below():
    """Guo et al.: bins are (low, high]; 1 is in the last one."""
    p_NC = np.array([two(0.8), two(1.0), two(0.80001)])
    counts = [cell["count"] for cell in reliability(np.zeros(3, dtype=int), p_NC, bins=10)]
    assert counts == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_empty_bins_are_null_and_all_are_there():
    cells = reliability(np.array([0]), np.array([two(0.9)]))
    assert len(cells) == 15
    assert cells[0] == {
        "low": 0.0,
        "high": pytest.approx(1 / 15),
        "count": 0,
        "confidence": None,
        "accuracy": None,
    }


def test_bins_add_up_to_ece():
    rng = np.random.default_rng(0)
    p_NC = rng.dirichlet(np.ones(7), size=500)
    target_N = rng.integers(0, 7, size=500)
    gaps = [
        cell["count"] / 500 * abs(cell["accuracy"] - cell["confidence"])
        for cell in reliability(target_N, p_NC)
        if cell["count"]
    ]
    assert ece(target_N, p_NC) == pytest.approx(sum(gaps))


def test_weights_are_repetitions():
    rng = np.random.default_rng(1)
    p_NC, target_N = rng.dirichlet(np.ones(3), size=40), rng.integers(0, 3, size=40)
    times_RN = rng.integers(0, 4, size=(5, 40))
    found = ece(target_N, p_NC, times_RN.astype(float))
    for row, times in enumerate(times_RN):
        assert found[row] == pytest.approx(ece(np.repeat(target_N, times), np.repeat(p_NC, times, axis=0)))


def test_a_truthful_model_is_nearly_calibrated():
    """Targets drawn from the stated probabilities: ECE falls to the noise of 20,000 images."""
    rng = np.random.default_rng(2)
    p_NC = rng.dirichlet([0.5, 0.5, 0.5], size=20_000)
    target_N = (p_NC.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert ece(target_N, p_NC) < 0.015
    assert ece(target_N, np.eye(3)[p_NC.argmax(axis=1)]) > 0.1
