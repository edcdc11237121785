from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.evaluation.score import score
from dermlens.labels import CLASSES
from dermlens.sections import EvaluationConfig
from dermlens.studies.scores import by_argmax, numbers, score_study


def test_argmax_agrees_with_the_scores_of_a_run(predictions):
    """Another path through the code, intervals included: the same draws of the same lesions."""
    config = EvaluationConfig(bootstrap=60)
    table = predictions()
    found = score_study(table, config)["roles"]["out_of_fold"]["decisions"]["argmax"]
    run = score(table, CLASSES, config)["roles"]["out_of_fold"]
    places = {
        "mean_recall": run["overall"]["balanced_accuracy_isic"],
        "accuracy": run["overall"]["accuracy"],
        "ece": run["overall"]["ece"],
        "log_loss": run["overall"]["log_loss"],
        "macro_auc": run["averages"]["macro"]["auc"],
    }
    for name, expected in places.items():
        assert found[name] == pytest.approx(expected)
    assert found["recall"]["mel"] == pytest.approx(run["per_class"]["mel"]["recall"])


def test_a_tie_is_wrong_everywhere():
    p_NC = np.array([[0.4, 0.4, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    found = numbers(np.array([0, 1, 2]), by_argmax(p_NC), ("a", "b", "c"), None)
    assert found["recall", "a"] == 0
    assert found["accuracy",] == pytest.approx(2 / 3)
    assert found["mean_recall",] == pytest.approx(2 / 3)


@given(order=st.permutations(range(60)))
def test_the_order_of_images_does_not_matter(order):
    rng = np.random.default_rng(0)
    p_NC, target_N = rng.dirichlet(np.ones(3), 60), np.arange(60) % 3
    first = numbers(target_N, by_argmax(p_NC), "abc", None)
    other = numbers(target_N[order], by_argmax(p_NC[order]), "abc", None)
    assert other == {place: pytest.approx(value) for place, value in first.items()}


def test_an_integer_weight_repeats_an_image(predictions):
    table = predictions(40)
    target_N = np.array([CLASSES.index(code) for code in table["target"]])
    p_NC = table[[f"p_{code}" for code in CLASSES]].to_numpy()
    times_N = np.random.default_rng(1).integers(0, 3, 40)
    weighted = numbers(target_N, by_argmax(p_NC), CLASSES, times_N.astype(float))
    rows = np.repeat(np.arange(40), times_N)
    repeated = numbers(target_N[rows], by_argmax(p_NC[rows]), CLASSES, None)
    assert weighted == {place: pytest.approx(value, nan_ok=True) for place, value in repeated.items()}
