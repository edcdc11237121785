from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dermlens.calibration.probabilities import lesion_counts, lesion_folds, lesions_of

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60)


@given(ROWS, st.integers(2, 5))
def test_folds_are_a_partition_that_parts_no_lesion(rows, folds):
    target_N, lesion_N = (np.array(column) for column in zip(*rows, strict=True))
    index_N, target_L = lesions_of(target_N, lesion_N)
    judged = []
    for fit_N, judge_N in lesion_folds(target_N, lesion_N, folds=folds, seed=0):
        assert not set(index_N[fit_N]) & set(index_N[judge_N])
        assert len(fit_N) + len(judge_N) == len(rows)
        judged += judge_N.tolist()
        in_fold_C = np.bincount(target_L[np.unique(index_N[judge_N])], minlength=4)
        assert (np.abs(in_fold_C - np.bincount(target_L, minlength=4) / folds) < 1 + 1e-9).all()
    assert sorted(judged) == list(range(len(rows)))


@given(ROWS)
def test_lesions_are_pairs_of_name_and_class(rows):
    target_N, lesion_N = (np.array(column) for column in zip(*rows, strict=True))
    counts = lesion_counts(target_N, lesion_N, 4)
    assert counts.sum() == len(set(rows))
    index_N, target_L = lesions_of(target_N, lesion_N)
    assert (target_L[index_N] == target_N).all()
