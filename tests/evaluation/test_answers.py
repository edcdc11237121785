from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, recall_score

from dermlens.data.predictions import arrays, read_predictions, write_predictions
from dermlens.errors import UserError
from dermlens.evaluation.calibration import fate
from dermlens.evaluation.comparison import render_metrics
from dermlens.evaluation.score import score
from dermlens.labels import CLASSES, Vocabulary
from dermlens.predict.decision import ANSWERED, OUT_OF_DISTRIBUTION, REASONS, UNSURE
from dermlens.records import Metrics
from dermlens.sections import EvaluationConfig

CONFIG = EvaluationConfig(bootstrap=20)


def mean_recall(part):
    """Over the classes present."""
    return recall_score(part["target"], part["diagnosis"], labels=part["target"].unique(), average="macro")


@pytest.fixture
def answered(drawn) -> pd.DataFrame:
    """Predictions with answers that the probabilities do not give away."""
    table = drawn(400, ("selection", "calibration"))
    rng = np.random.default_rng(5)
    diagnosis = np.where(rng.random(400) < 0.7, table["target"], rng.choice(CLASSES, 400))
    others = rng.choice(CLASSES, 400)
    reason = rng.choice(["", OUT_OF_DISTRIBUTION, f"{OUT_OF_DISTRIBUTION}; {UNSURE}"], 400, p=[0.8, 0.1, 0.1])
    return table.assign(
        diagnosis=diagnosis,
        confidence=rng.random(400),
        set=["|".join(sorted({a, b})) for a, b in zip(diagnosis, others, strict=True)],
        ood=rng.normal(size=400),
        suspicion=0.5,
        flagged="",
        uncertain=np.where(reason == "", "no", "yes"),
        reason=reason,
    )


def test_recall_and_accuracy_are_of_the_diagnosis_and_the_rest_of_the_probabilities(answered):
    """Truth and diagnosis give scikit-learn's numbers; without the diagnosis the others do not move."""
    ruled, plain = (score(table, CLASSES, CONFIG) for table in (answered, answered.drop(columns="diagnosis")))
    assert (ruled["decision"], plain["decision"]) == ("calibrated", "argmax")
    for role, part in answered.groupby("role"):
        found, other = ruled["roles"][role], plain["roles"][role]
        value = {name: entry["value"] for name, entry in found["overall"].items()}
        assert value["accuracy"] == pytest.approx(accuracy_score(part["target"], part["diagnosis"]))
        expected = mean_recall(part)
        assert value["balanced_accuracy_isic"] == pytest.approx(expected)
        present = sorted(part["target"].unique())
        recall_C = recall_score(part["target"], part["diagnosis"], labels=present, average=None)
        for code, expected in zip(present, recall_C, strict=True):
            assert found["per_class"][code]["recall"]["value"] == pytest.approx(expected)
            assert found["per_class"][code]["auc"] == other["per_class"][code]["auc"]
        assert np.trace(found["confusion"]) == (part["target"] == part["diagnosis"]).sum()
        for name in ("ece", "brier", "log_loss"):
            assert found["overall"][name] == other["overall"][name]
        women = part["sex"] == "female"
        same = (part["target"] == part["diagnosis"])[women].mean()
        assert found["subgroups"]["sex"]["female"]["accuracy"]["value"] == pytest.approx(same)


def test_what_became_of_the_images(answered):
    found = score(answered, CLASSES, CONFIG)["roles"]["selection"]["answers"]
    part = answered[answered["role"] == "selection"]
    kept = part[part["uncertain"] == "no"]
    assert found["answered"]["value"] == pytest.approx(len(kept) / len(part))
    assert found["accuracy_answered"]["value"] == pytest.approx((kept["target"] == kept["diagnosis"]).mean())
    expected = mean_recall(kept)
    assert found["mean_recall_answered"]["value"] == pytest.approx(expected)
    sets = part["set"].str.split("|")
    assert found["set_size"]["value"] == pytest.approx(sets.str.len().mean())
    inside = pd.Series([t in s for t, s in zip(part["target"], sets, strict=True)], part.index)
    nevi = part["target"] == "nv"
    assert found["per_class"]["nv"]["coverage"]["value"] == pytest.approx(inside[nevi].mean())
    assert found["per_class"]["nv"]["abstained"]["value"] == pytest.approx(
        (part["uncertain"] == "yes")[nevi].mean()
    )
    assert found["reasons"] == {word: part["reason"].str.contains(word).sum() for word in REASONS}
    melanomas = found["melanomas"]
    assert melanomas["images"] == (part["target"] == "mel").sum()
    missed = (part["target"] == "mel") & ~inside & (part["uncertain"] == "no")
    assert melanomas["missed"] == missed.sum()


def test_fate_by_hand():
    target_N = np.array([1, 1, 1, 1, 0])
    diagnosis_N = np.array([1, 0, 0, 0, 0])
    set_NC = np.array([[0, 1], [1, 1], [1, 0], [1, 0], [1, 1]], dtype=bool)
    abstain_N = np.array([True, True, True, False, False])
    found = fate(target_N, diagnosis_N, set_NC, abstain_N, Vocabulary(("nv", "mel")))
    assert found == {"images": 4, "named": 1, "in_set": 1, "abstained": 1, "missed": 1}


def test_round_trip_of_answers(answered, tmp_path):
    path = tmp_path / "predictions.csv"
    answered.loc[0, "ood"] = np.nan
    write_predictions(path, answered)
    again = read_predictions(path)
    pd.testing.assert_frame_equal(again, answered[again.columns], rtol=1e-8)
    assert tuple(again.columns)[-12:-4] == ANSWERED


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("diagnosis", "naevus", "row 2: the diagnosis"),
        ("uncertain", "maybe", "row 2: uncertain"),
        ("set", "mel,nv", "row 2: the set"),
        ("set", "", "row 2: the set"),
        ("confidence", "high", "row 2: confidence is 'high'"),
        ("confidence", "", "row 2: confidence is ''"),
    ],
)
def test_a_bad_answer_is_one_sentence(answered, tmp_path, column, value, sentence):
    path = tmp_path / "predictions.csv"
    cells = answered[column].astype(str).tolist()
    answered.assign(**{column: [value, *cells[1:]]}).to_csv(path, index=False)
    with pytest.raises(UserError, match=sentence):
        read_predictions(path)


def test_without_answers_nothing_changes(drawn):
    """A table without a diagnosis is scored by its highest probability, as ever."""
    table = drawn(200, ("selection",))
    found = score(table, CLASSES, CONFIG)["roles"]["selection"]
    target_N, p_NC = arrays(table, CLASSES)
    assert "answers" not in found
    assert found["overall"]["accuracy"]["value"] == pytest.approx((p_NC.argmax(1) == target_N).mean())


def test_the_terminal_says_what_a_number_is_of(answered):
    from rich.console import Console

    console = Console(width=200, record=True)
    console.print(render_metrics(Metrics.model_validate(score(answered, CLASSES, CONFIG))))
    output = console.export_text()
    assert "accuracy of the diagnosis" in output
    assert "expected calibration error of the probabilities" in output
