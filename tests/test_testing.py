"""The shared checks on readers and metrics of our own; the other parts have theirs in their own tests."""

from __future__ import annotations

import pytest

from dermlens import metrics
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.testing import check_metric, check_reader


def test_our_reader_keeps_the_contract(tmp_path):
    check_reader(None, write_synthetic(tmp_path / "data", lesions=56, seed=1, size=(48, 64)))


@pytest.mark.parametrize("name", ["brier", "log_loss", "balanced_accuracy_isic"])
def test_every_metric_of_ours_keeps_the_contract(name):
    check_metric(lambda target_N, p_NC, classes: getattr(metrics, name)(target_N, p_NC, None))
