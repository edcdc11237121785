"""The loss that decides: by hand, against the bootstrap, and what must hold for any predictions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, recall_score, roc_auc_score

from dermlens.errors import UserError
from dermlens.evaluation.transfer import (
    Difference,
    decide,
    equal_prior_mean,
    kept_classes,
    lesion_losses,
    mean_over_sources,
    paired_difference,
    score_source,
)
from dermlens.sections import EvaluationConfig

CODES = ("bcc", "mel", "nv")


def frame(rows: list[tuple[str, str, tuple[float, ...]]]) -> pd.DataFrame:
    """Predictions given as (lesion, target, probabilities)."""
    lesion, target, p_NC = zip(*rows, strict=True)
    table = pd.DataFrame(p_NC, columns=[f"p_{code}" for code in CODES])
    return table.assign(image_id=[f"I{n}" for n in range(len(rows))], lesion_id=lesion, target=target)


def drawn(lesions: dict[str, int], seed: int = 0, skill: float = 1.0) -> pd.DataFrame:
    """One or two images of each lesion; the same lesions for every seed."""
    rng = np.random.default_rng(seed)
    rows = []
    for code, count in lesions.items():
        for number in range(count):
            for _ in range(1 + number % 2):
                logits_C = rng.normal(size=3) + skill * (np.array(CODES) == code)
                p_C = np.exp(logits_C) / np.exp(logits_C).sum()
                rows.append((f"{code}-{number}", code, tuple(p_C)))
    return frame(rows)


BY_HAND = frame(
    [
        ("a", "mel", (0.2, 0.4, 0.4)),  # 1/2 of mel and nv
        ("a", "mel", (0.2, 0.2, 0.6)),  # 1/4
        ("b", "mel", (0.5, 0.5, 0.0)),  # 1
        ("c", "nv", (0.0, 0.2, 0.8)),  # 4/5
        ("d", "nv", (0.9, 0.05, 0.05)),  # 1/2
        ("e", "bcc", (1.0, 0.0, 0.0)),  # too few of its class
    ]
)


def test_by_hand():
    """mel: lesion a (ln 2 + ln 4)/2, b 0; nv: c ln 5/4, d ln 2; bcc has one lesion and takes no part."""
    loss = lesion_losses(BY_HAND, enough=2)
    assert loss.index.tolist() == [("mel", "a"), ("mel", "b"), ("nv", "c"), ("nv", "d")]
    a, c, d = 1.5 * math.log(2), math.log(1.25), math.log(2)
    assert loss.tolist() == pytest.approx([a, 0, c, d])
    found = equal_prior_mean(loss)
    assert found.value == pytest.approx((a / 2 + (c + d) / 2) / 2)
    variance = (a**2 / 2) / 2 + ((c - d) ** 2 / 2) / 2  # s²/n of each class, n = 2
    assert found.error == pytest.approx(math.sqrt(variance) / 2)


def test_of_single_images_it_is_scikit_learns_with_balanced_weights():
    table = drawn({"bcc": 60, "mel": 80, "nv": 300}).drop_duplicates("lesion_id")
    weight_N = 1 / table["target"].map(table["target"].value_counts())
    p_NC = table[[f"p_{code}" for code in CODES]].to_numpy()
    theirs = log_loss(table["target"], p_NC, labels=list(CODES), sample_weight=weight_N)
    assert equal_prior_mean(lesion_losses(table)).value == pytest.approx(theirs)


def test_shares_of_the_classes_do_not_matter():
    """Every nevus three times over, under other ids, leaves the loss as it was."""
    table = drawn({"mel": 60, "nv": 70})
    nevi = table[table["target"] == "nv"]
    copies = [nevi.assign(lesion_id=nevi["lesion_id"] + f"-{n}") for n in range(2)]
    more = pd.concat([table, *copies], ignore_index=True)
    assert equal_prior_mean(lesion_losses(more)).value == pytest.approx(
        equal_prior_mean(lesion_losses(table)).value
    )


def test_a_class_counts_from_fifty_lesions_not_images():
    assert kept_classes(drawn({"bcc": 49, "mel": 50, "nv": 51})) == ("mel", "nv")


def test_a_sure_mistake_costs_much_and_not_everything():
    """p of 0 is cut at the smallest step of float64, as in scikit-learn."""
    loss = lesion_losses(frame([("a", "mel", (0, 0, 1)), ("b", "nv", (0, 0, 1))]), enough=1)
    assert loss.tolist() == pytest.approx([-math.log(np.finfo(float).eps), 0], abs=1e-9)


def test_one_class_alone_is_refused():
    with pytest.raises(UserError, match=r"two classes.*50"):
        lesion_losses(drawn({"mel": 49, "nv": 80}))


def test_the_error_is_that_of_drawing_the_lesions_anew():
    loss = lesion_losses(drawn({"bcc": 55, "mel": 90, "nv": 200}))
    rng = np.random.default_rng(0)
    parts = [part.to_numpy() for _, part in loss.groupby(level="target")]
    means = [np.mean([rng.choice(part, len(part)).mean() for part in parts]) for _ in range(4000)]
    assert equal_prior_mean(loss).error == pytest.approx(np.std(means), rel=0.05)


def test_pairing_by_lesion_narrows_the_difference():
    """The same images, one model a little better on each: what is hard for both cancels."""
    table = drawn({"mel": 60, "nv": 60})
    better = table.copy()
    p_NC = better[[f"p_{code}" for code in CODES]].to_numpy()
    hot_NC = (better["target"].to_numpy()[:, None] == np.array(CODES)).astype(float)
    better[[f"p_{code}" for code in CODES]] = 0.9 * p_NC + 0.1 * hot_NC
    ours, theirs = lesion_losses(better), lesion_losses(table)
    found = paired_difference(ours, theirs)
    assert found.value == pytest.approx(equal_prior_mean(ours).value - equal_prior_mean(theirs).value)
    assert found.value < 0
    apart = math.hypot(equal_prior_mean(ours).error, equal_prior_mean(theirs).error)
    assert found.error < apart / 2


def test_only_the_same_lesions_are_paired():
    table = drawn({"mel": 60, "nv": 60})
    with pytest.raises(UserError, match="mel-7"):
        paired_difference(lesion_losses(table), lesion_losses(table[table["lesion_id"] != "mel-7"]))


def test_sources_weigh_alike_and_the_worst_is_named():
    baseline = {name: drawn({"mel": 60, "nv": 60}, seed) for seed, name in enumerate(("a", "b", "c"))}
    candidate = {
        name: drawn({"mel": 60, "nv": 60}, 10 + seed, skill)
        for seed, (name, skill) in enumerate((("a", 2.0), ("b", -0.5), ("c", 1.5)))
    }
    found = decide(candidate, baseline)
    assert found.worst == "b"
    assert not found.worst_holds
    assert found.mean.value == pytest.approx(np.mean([one.value for one in found.sources.values()]))
    errors = [one.error for one in found.sources.values()]
    assert found.mean.error == pytest.approx(math.sqrt(sum(e**2 for e in errors)) / 3)
    assert decide(baseline, baseline).mean == Difference(0.0, 0.0)
    assert decide(baseline, baseline).worst_holds


def test_nothing_in_common_is_refused():
    table = drawn({"mel": 60, "nv": 60})
    with pytest.raises(UserError, match="in common"):
        decide({"a": table}, {"b": table})


def test_mean_of_one_is_itself():
    assert mean_over_sources([Difference(0.3, 0.1)]) == Difference(pytest.approx(0.3), pytest.approx(0.1))


def test_scores_of_a_source_are_scikit_learns():
    table = drawn({"bcc": 12, "mel": 60, "nv": 150})
    found = score_source(table, EvaluationConfig(bootstrap=50))
    named = table[[f"p_{code}" for code in CODES]].to_numpy().argmax(axis=1)
    recalls = recall_score(table["target"], np.array(CODES)[named], labels=list(CODES), average=None)
    aucs = [roc_auc_score(table["target"] == code, table[f"p_{code}"]) for code in CODES]
    for index, code in enumerate(CODES):
        assert found["auc"][code]["value"] == pytest.approx(aucs[index])
        assert found["recall"][code]["value"] == pytest.approx(recalls[index])
        assert found["auc"][code]["low"] < aucs[index] < found["auc"][code]["high"]
    assert found["macro_auc"]["value"] == pytest.approx(np.mean(aucs[1:]))  # bcc has too few
    assert found["mean_recall"]["value"] == pytest.approx(np.mean(recalls[1:]))
    assert (found["support"], found["kept"]) == ({"bcc": 12, "mel": 60, "nv": 150}, ["mel", "nv"])
    assert found["lesions"] == 222
    assert found["log_loss"]["value"] == pytest.approx(equal_prior_mean(lesion_losses(table)).value)
