from __future__ import annotations

import numpy as np
import pytest
from decisions import PRIOR
from sklearn.metrics import balanced_accuracy_score

from dermlens.calibration import probabilities as fit_rule_module
from dermlens.calibration.probabilities import fit_rule, logit_adjusted, mean_recall, no_offsets, per_class
from dermlens.predict.decision import log_softmax


def named(log_p_NC, rule):
    return (log_p_NC + np.array(rule.offsets)).argmax(axis=1)


def test_mean_recall_is_scikit_learns():
    rng = np.random.default_rng(0)
    target_N, named_N = rng.integers(0, 5, 80), rng.integers(0, 5, 80)
    assert mean_recall(target_N, named_N, 7) == pytest.approx(balanced_accuracy_score(target_N, named_N))


def test_for_exact_probabilities_the_rule_is_that_of_equal_shares(world):
    """There tau = 1 is optimal (Menon et al., Theorem 1), whatever the class shares."""
    role = world(20_000, seed=1)
    rule = logit_adjusted(log_softmax(role.logits_NC), role.target_N, PRIOR)
    assert rule.tau == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(rule.offsets, -rule.tau * np.log(PRIOR))


def test_the_rule_raises_mean_recall_of_new_images(world):
    selection, fresh = world(1200, seed=2), world(4000, seed=3)
    log_p_NC, new_NC = log_softmax(selection.logits_NC), log_softmax(fresh.logits_NC)
    rule = fit_rule(log_p_NC, selection.target_N, selection.lesion_N, PRIOR)
    assert rule.kind != "argmax"
    before = mean_recall(fresh.target_N, new_NC.argmax(axis=1), 7)
    after = mean_recall(fresh.target_N, named(new_NC, rule), 7)
    assert after > before + 0.03
    best = mean_recall(fresh.target_N, (new_NC - np.log(PRIOR)).argmax(axis=1), 7)
    assert after > best - 0.03


def test_offsets_of_a_class_that_is_stated_too_low(world):
    """Probabilities of one class are a tenth of what they should be: only offsets one by one mend that."""
    role, fresh = world(3000, seed=4), world(3000, seed=5)
    wrong = np.array([0, 0, 0, 0, -2.3, 0, 0])
    log_p_NC, new_NC = (log_softmax(of.logits_NC + wrong) for of in (role, fresh))
    common = logit_adjusted(log_p_NC, role.target_N, PRIOR)
    single = per_class(log_p_NC, role.target_N, PRIOR)
    reached = [mean_recall(fresh.target_N, named(new_NC, rule), 7) for rule in (common, single)]
    assert reached[1] > reached[0] + 0.01
    assert fit_rule(log_p_NC, role.target_N, role.lesion_N, PRIOR).kind == "per_class"


def test_per_class_is_never_far_below_where_it_began(world):
    role = world(600, seed=6)
    log_p_NC = log_softmax(role.logits_NC)
    began, ended = (f(log_p_NC, role.target_N, PRIOR) for f in (logit_adjusted, per_class))
    recall = [mean_recall(role.target_N, named(log_p_NC, rule), 7) for rule in (began, ended)]
    assert recall[1] >= recall[0] - 0.02
    assert sum(ended.offsets) == pytest.approx(0, abs=1e-9)


def test_steps_along_one_class_are_the_smooth_recall(world):
    role = world(50, seed=9)
    log_p_NC, weight_N = log_softmax(role.logits_NC), fit_rule_module._one_a_class(role.target_N)
    along_S = fit_rule_module._along(log_p_NC, role.target_N, weight_N, 4)
    for step, reached in zip(fit_rule_module.STEPS, along_S, strict=True):
        moved_NC = log_p_NC + step * np.eye(7)[4]
        assert reached == pytest.approx(fit_rule_module._smooth_recall(moved_NC, role.target_N, weight_N))


def test_what_was_cross_validated_is_said(world):
    role = world(500, seed=7)
    rule = fit_rule(log_softmax(role.logits_NC), role.target_N, role.lesion_N, PRIOR)
    assert set(rule.cross_validated) == {"argmax", "logit_adjusted", "per_class"}
    assert max(rule.cross_validated, key=rule.cross_validated.get) == rule.kind
    lesions = {(name, target) for name, target in zip(role.lesion_N, role.target_N, strict=True)}
    assert sum(rule.lesions) == len(lesions)


def test_where_no_offset_helps_the_highest_probability_stays():
    """Certain and right probabilities: every rule is perfect, and of equal ones the simplest is taken."""
    target_N = np.arange(70) % 7
    log_p_NC = log_softmax(30 * np.eye(7)[target_N])
    rule = fit_rule(log_p_NC, target_N, np.arange(70), PRIOR)
    assert rule.kind == "argmax"
    assert rule.offsets == no_offsets(log_p_NC, target_N, PRIOR).offsets == (0.0,) * 7


def test_a_class_without_images_keeps_its_pull(world):
    """Nothing is known of it here, so its offset is that of the prior."""
    role = world(800, seed=8)
    kept = role.target_N != 3
    log_p_NC = log_softmax(role.logits_NC[kept])
    rule = fit_rule(log_p_NC, role.target_N[kept], role.lesion_N[kept], PRIOR)
    assert rule.lesions[3] == 0
    assert np.isfinite(rule.offsets).all()
