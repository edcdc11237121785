from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from dermlens.data.predictions import arrays
from dermlens.evaluation.intervals import draw_lesions
from dermlens.evaluation.score import score
from dermlens.labels import CLASSES
from dermlens.sections import EvaluationConfig

QUICK = EvaluationConfig(bootstrap=40)


@pytest.fixture
def table(make_predictions):
    return pd.concat(
        [
            make_predictions(420, "selection", seed=1),
            make_predictions(280, "calibration", seed=2, per_lesion=2),
        ],
        ignore_index=True,
    )


@pytest.fixture
def scored(table):
    return score(table, CLASSES, QUICK)


def estimates(tree, place=()):
    """Every {value, low, high} of the document with its place."""
    if isinstance(tree, dict):
        if {"value", "low", "high"} <= set(tree):
            yield place, tree
        else:
            for name, branch in tree.items():
                yield from estimates(branch, (*place, name))
    elif isinstance(tree, list):
        for number, branch in enumerate(tree):
            yield from estimates(branch, (*place, number))


def test_document_is_plain_json_without_nan(scored):
    assert json.loads(json.dumps(scored, allow_nan=False)) == scored
    assert list(scored["roles"]) == ["selection", "calibration"]
    assert scored["bootstrap"] == {
        "replicates": 40,
        "level": 0.95,
        "seed": 0,
        "unit": "lesion",
        "strata": "class",
        "interval": {"recall": "korn_graubard", "mean_recall": "bca", "other": "percentile"},
    }
    assert scored["roles"]["calibration"]["lesions"] == 140
    assert scored["roles"]["calibration"]["classes_present"] == 7


def test_every_defined_value_lies_near_its_interval(scored):
    """Percentile intervals need not hold the value (ECE's does not), but nearly always do."""
    outside = [
        place
        for place, found in estimates(scored)
        if found["low"] is not None and not found["low"] - 1e-9 <= found["value"] <= found["high"] + 1e-9
    ]
    assert {place[-1] for place in outside} <= {"ece"}


def test_numbers_are_scikit_learns(table, scored):
    part = table[table["role"] == "calibration"]
    p_NC = part[[f"p_{code}" for code in CLASSES]].to_numpy()
    target_N = part["target"].map(CLASSES.index).to_numpy()
    predicted_N = p_NC.argmax(axis=1)
    found = scored["roles"]["calibration"]
    assert found["overall"]["accuracy"]["value"] == pytest.approx((predicted_N == target_N).mean())
    assert found["confusion"] == sk.confusion_matrix(target_N, predicted_N).tolist()
    options = {"average": "macro", "zero_division": 0}
    for name, function in (
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
        ("f1", sk.f1_score),
    ):
        expected = function(target_N, predicted_N, **options)
        assert found["averages"]["macro"][name]["value"] == pytest.approx(expected)
    for average in ("macro", "weighted", "micro"):
        expected = sk.roc_auc_score(np.eye(7)[target_N], p_NC, average=average)
        assert found["averages"][average]["auc"]["value"] == pytest.approx(expected)
    report = sk.classification_report(target_N, predicted_N, target_names=CLASSES, output_dict=True)
    for code in CLASSES:
        assert found["per_class"][code]["recall"]["value"] == pytest.approx(report[code]["recall"])
        assert found["per_class"][code]["support"] == report[code]["support"]
    for cells in (found["per_class"][code] for code in CLASSES):
        assert cells["tp"] + cells["fp"] + cells["fn"] + cells["tn"] == len(part)
    malignant = np.isin(target_N, [CLASSES.index("bcc"), CLASSES.index("mel")])
    p_malignant = p_NC[:, CLASSES.index("bcc")] + p_NC[:, CLASSES.index("mel")]
    auc = found["detection"]["malignant_without_akiec"]["auc"]["value"]
    assert auc == pytest.approx(sk.roc_auc_score(malignant, p_malignant))


def test_row_order_changes_nothing(table):
    """Point values exactly; intervals too, for lesions are drawn by name and class."""
    shuffled = table.sample(frac=1, random_state=0)
    ours, theirs = score(table, CLASSES, QUICK), score(shuffled, CLASSES, QUICK)
    other = dict(estimates(theirs))
    for place, found in estimates(ours):
        for name in ("value", "low", "high"):
            assert other[place][name] == pytest.approx(found[name], abs=1e-12), place


def test_threshold_is_fixed_on_the_other_role(table, scored):
    """selection is scored at the threshold that reaches the aim on calibration, and conversely."""
    for role, source in (("selection", "calibration"), ("calibration", "selection")):
        for point in scored["roles"][role]["detection"]["melanoma"]["operating_points"]:
            part, here = table[table["role"] == source], table[table["role"] == role]
            assert point["threshold_role"] == source
            assert point["optimistic"] is False
            assert point["threshold"] in part.loc[part["target"] == "mel", "p_mel"].tolist()
            reached = (part.loc[part["target"] == "mel", "p_mel"] >= point["threshold"]).mean()
            assert reached >= point["sensitivity_aim"]
            realised = (here.loc[here["target"] == "mel", "p_mel"] >= point["threshold"]).mean()
            assert point["sensitivity"]["value"] == pytest.approx(realised)


def test_rates_at_fixed_probabilities(table, scored):
    """Sensitivity is the recall, specificity the other class's recall, of the summed probability at it."""
    for role, part in table.groupby("role"):
        for found in scored["roles"][role]["detection"].values():
            sought = part["target"].isin(found["classes"])
            p_N = part[[f"p_{code}" for code in found["classes"]]].sum(axis=1)
            assert [point["threshold"] for point in found["at_probability"]] == [0.05, 0.1, 0.2, 0.3, 0.5]
            for point in found["at_probability"]:
                flagged = p_N >= point["threshold"]
                expected = sk.recall_score(sought, flagged), sk.recall_score(~sought, ~flagged)
                assert (point["sensitivity"]["value"], point["specificity"]["value"]) == pytest.approx(
                    expected
                )
                assert point["specificity"]["low"] <= point["specificity"]["value"]


def test_one_role_alone_is_marked_optimistic(table):
    alone = score(table[table["role"] == "selection"], CLASSES, QUICK)
    (point, _) = alone["roles"]["selection"]["detection"]["melanoma"]["operating_points"]
    assert point["threshold_role"] == "selection"
    assert point["optimistic"] is True
    assert point["sensitivity"]["value"] >= 0.9


def test_only_scores_what_is_asked_with_thresholds_from_the_rest(table, make_predictions):
    external = make_predictions(140, "external", seed=3)
    both = pd.concat([table, external], ignore_index=True)
    found = score(both, CLASSES, QUICK, only=["external"])
    assert list(found["roles"]) == ["external"]
    (point, _) = found["roles"]["external"]["detection"]["melanoma"]["operating_points"]
    assert point["threshold_role"] == "calibration"


def test_melanoma_against_nevi_of_histology_alone(table, scored):
    part = table[table["role"] == "selection"]
    kept = part[(part["target"] == "mel") | ((part["target"] == "nv") & (part["dx_type"] == "histo"))]
    found = scored["roles"]["selection"]["melanoma_vs_histology_nevi"]
    assert found["auc"]["value"] == pytest.approx(sk.roc_auc_score(kept["target"] == "mel", kept["p_mel"]))
    assert found["melanomas"] == 60
    assert found["nevi"] == len(kept) - 60 < 60


def test_absent_classes_are_null(table):
    part = table[(table["role"] == "selection") & ~table["target"].isin(["df", "mel"])]
    found = score(part, CLASSES, QUICK)["roles"]["selection"]
    assert found["classes_present"] == 5
    nothing = {"value": None, "low": None, "high": None}
    for name in ("precision", "recall", "f1", "auc", "average_precision", "partial_auc_sens80"):
        assert found["per_class"]["mel"][name] == nothing
    assert found["per_class"]["mel"]["specificity"]["value"] is not None
    melanoma = found["detection"]["melanoma"]
    assert melanoma["auc"] == nothing
    assert melanoma["operating_points"][0]["threshold"] is None
    assert melanoma["operating_points"][0]["sensitivity"] == nothing
    recalls = [found["per_class"][code]["recall"]["value"] for code in CLASSES if code not in ("df", "mel")]
    assert found["averages"]["macro"]["recall"]["value"] == pytest.approx(np.mean(recalls))


def test_other_labels(make_predictions):
    """A clinic's own two classes: no melanoma, no malignancy, everything else."""
    classes = ("eczema", "psoriasis")
    found = score(make_predictions(60, classes=classes), classes, QUICK)["roles"]["selection"]
    assert found["detection"] == {}
    assert "melanoma_vs_histology_nevi" not in found
    assert found["overall"]["balanced_accuracy_isic"]["value"] > 0.5


def test_subgroups_say_their_n(table, scored):
    part = table[table["role"] == "selection"]
    groups = scored["roles"]["selection"]["subgroups"]
    assert list(groups) == ["sex", "age", "site"]
    for group, found in groups["sex"].items():
        inside = part[part["sex"] == group]
        assert found["images"] == len(inside)
        for code, recall in found["per_class_recall"].items():
            assert recall["n"] == (inside["target"] == code).sum()
            assert (recall["value"] is None) == (recall["n"] < 20)


def test_net_benefit_has_the_intervals_of_the_lesion_bootstrap(make_predictions):
    """The percentiles of a plain loop over the draws, threshold by threshold."""
    table = make_predictions(210, per_lesion=3)
    config = EvaluationConfig(bootstrap=100)
    curve = score(table, CLASSES, config)["roles"]["selection"]["detection"]["melanoma"]["net_benefit"]
    target_N, p_NC = arrays(table, CLASSES)
    sought_N, p_N = target_N == CLASSES.index("mel"), p_NC[:, CLASSES.index("mel")]
    resamples = draw_lesions(table["lesion_id"].to_numpy(str), target_N, replicates=100, seed=config.seed)
    for point in curve:
        odds = point["threshold"] / (1 - point["threshold"])
        caught_N = p_N >= point["threshold"]
        worth_N = np.where(caught_N, np.where(sought_N, 1.0, -odds), 0.0)
        assert point["model"] == pytest.approx(worth_N.mean())
        drawn = [np.repeat(worth_N, counts[resamples.lesion]).mean() for counts in resamples.counts]
        np.testing.assert_allclose((point["low"], point["high"]), np.quantile(drawn, [0.025, 0.975]))
        assert point["low"] <= point["model"] <= point["high"]
    without = score(table, CLASSES, EvaluationConfig(bootstrap=0))["roles"]["selection"]["detection"]
    assert {point["low"] for point in without["melanoma"]["net_benefit"]} == {None}


def test_skin_tones_are_scored_as_other_groups_and_change_nothing_else(make_predictions):
    table = make_predictions(420, per_lesion=2)
    tone_N = np.random.default_rng(3).choice([1.0, 3.0, 5.0, np.nan], 420, p=[0.1, 0.5, 0.3, 0.1])
    config = EvaluationConfig(bootstrap=20)
    without = score(table, CLASSES, config)["roles"]["selection"]
    found = score(table.assign(skin_tone=tone_N), CLASSES, config)["roles"]["selection"]
    by_tone = found["subgroups"].pop("skin_tone")
    assert found == without
    assert list(by_tone) == ["0–2", "3", "4–5", "unknown"]
    named_N = table[[f"p_{code}" for code in CLASSES]].to_numpy().argmax(axis=1)
    right = np.array(CLASSES)[named_N] == table["target"]
    for name, inside in {"0–2": tone_N == 1, "3": tone_N == 3, "4–5": tone_N == 5}.items():
        assert by_tone[name]["images"] == inside.sum()
        assert by_tone[name]["accuracy"]["value"] == pytest.approx(right[inside].mean())
        for code, recall in by_tone[name]["per_class_recall"].items():
            of_class = inside & (table["target"] == code)
            assert recall["n"] == of_class.sum()
            if of_class.sum() >= 20:
                assert recall["value"] == pytest.approx(right[of_class].mean())
                assert recall["low"] < recall["value"] < recall["high"]
            else:
                assert recall["value"] is None


def test_without_bootstrap_there_are_values_and_no_intervals(table):
    found = score(table, CLASSES, EvaluationConfig(bootstrap=0))
    accuracy = found["roles"]["selection"]["overall"]["accuracy"]
    assert accuracy["value"] is not None
    assert accuracy["low"] is accuracy["high"] is None
