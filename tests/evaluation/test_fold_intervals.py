from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dermlens.evaluation.intervals import over_folds


def test_it_is_the_interval_of_the_t_test():
    values = [0.725, 0.79, 0.80, 0.827, 0.79]
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = over_folds(values, level=0.95)
    assert found["mean"] == pytest.approx(np.mean(values))
    assert (found["low"], found["high"]) == pytest.approx((theirs.low, theirs.high))


def test_one_fold_says_nothing_of_others():
    assert over_folds([0.7], level=0.95) == {"values": [0.7], "mean": 0.7, "low": None, "high": None}
