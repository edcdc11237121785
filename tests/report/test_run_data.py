"""What lies next to a run comes into its card, and what is stale or something else is refused."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from calibrated import make_calibrated_run
from cards import sections, tables

from dermlens.errors import UserError
from dermlens.report.card import card_text
from dermlens.report.run_data import RunData, read_out_of_distribution
from dermlens.runs import Run

FAR = pd.DataFrame(
    {
        "set": ["photographs", "photographs"],
        "score": ["energy", "mahalanobis"],
        "images": [136, 136],
        "auroc": [0.81, 0.987],
        "low": [0.7, 0.975],
        "high": [0.9, 0.995],
        "flagged": [0.3, 0.91],
        "familiar_flagged": [0.05, 0.06],
    }
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_calibrated_run(tmp_path_factory.mktemp("runs") / "run", bootstrap=0)


@pytest.fixture
def run(made, tmp_path) -> Run:
    """One that a test may add to."""
    return Run(shutil.copytree(made.path, tmp_path / "run"))


def everything_given(run: Run, role: str) -> dict[str, object]:
    """The first row of missing_metadata.csv, where nothing is withheld: the scores of the run itself."""
    scores = run.metrics.roles[role]
    found = {
        "mean_recall": scores["overall"]["balanced_accuracy_isic"],
        "melanoma_recall": scores["per_class"]["mel"]["recall"],
        "accuracy": scores["overall"]["accuracy"],
        "mean_auc": scores["averages"]["macro"]["auc"],
        "ece": scores["overall"]["ece"],
    }
    values = {
        f"{name}{end}": value[key]
        for name, value in found.items()
        for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    return {"metadata": "age, sex and site", "role": role, "images": scores["images"]} | values


def test_out_of_distribution_sets_are_shown_by_the_score_that_the_model_uses(run):
    assert "Out-of-distribution images" not in sections(card_text(RunData(run)))
    FAR.to_csv(run.path / "far_ood.csv", index=False)
    (table,) = tables(sections(card_text(RunData(run)))["Out-of-distribution images"])
    assert table.iloc[0].tolist() == [
        "photographs", "energy", "136", "0.810 [0.700–0.900]", "30 %", "5 %", "`far_ood.csv`",
    ]  # fmt: skip
    assert len(table) == 1
    assert "not of this model" not in card_text(RunData(run))
    FAR.to_csv(run.path / "near_ood.csv", index=False)
    assert "not of this model" in card_text(RunData(run))


def test_what_less_knowledge_costs_is_shown(run):
    head = "What is known of the patient"
    assert head not in sections(card_text(RunData(run)))
    row = {"metadata": "nothing", "role": "test", "images": 30} | {
        f"{name}{end}": value
        for name, value in (
            ("mean_recall", 0.7),
            ("melanoma_recall", 0.6),
            ("accuracy", 0.8),
            ("mean_auc", 0.95),
        )
        for end, value in (("", value), ("_low", value - 0.1), ("_high", value + 0.05))
    }
    row |= {"ece": 0.02, "ece_low": None, "ece_high": None}
    pd.DataFrame([everything_given(run, "test"), row]).to_csv(run.path / "missing_metadata.csv", index=False)
    (table,) = tables(sections(card_text(RunData(run)))[head])
    assert table.iloc[1].tolist() == [
        "nothing", "0.70 [0.60–0.75]", "0.60 [0.50–0.65]", "0.80 [0.70–0.85]", "0.950 [0.850–1.000]",
        "0.020",
    ]  # fmt: skip
    assert "dermlens analyze missing-metadata RUN --role test --out RUN/missing_metadata.csv" in card_text(
        RunData(run)
    )
    pd.DataFrame([everything_given(run, "calibration")]).to_csv(
        run.path / "missing_metadata.csv", index=False
    )
    assert (
        "dermlens analyze missing-metadata RUN --role calibration --out RUN/missing_metadata.csv"
        in card_text(RunData(run))
    )


def test_a_table_of_an_earlier_version_is_read(run):
    row = {("told" if name == "metadata" else name): v for name, v in everything_given(run, "test").items()}
    pd.DataFrame([row]).to_csv(run.path / "told.csv", index=False)
    assert "What is known of the patient" in sections(card_text(RunData(run)))


@pytest.mark.parametrize("name", ["mean_recall", "ece", "images"])
def test_scores_of_missing_metadata_of_other_predictions_are_refused(run, name):
    row = everything_given(run, "test")
    pd.DataFrame([row | {name: row[name] + 0.01}]).to_csv(run.path / "missing_metadata.csv", index=False)
    with pytest.raises(
        UserError,
        match=r"missing_metadata\.csv is of other predictions than metrics\.json.*--role test --out",
    ):
        card_text(RunData(run))


def test_scores_of_missing_metadata_of_a_role_without_scores_are_refused(run):
    row = everything_given(run, "test") | {"role": "train"}
    pd.DataFrame([row]).to_csv(run.path / "missing_metadata.csv", index=False)
    with pytest.raises(UserError, match=r"of role train, which metrics\.json next to it has no scores of"):
        card_text(RunData(run))


def test_another_set_is_shown(run):
    folder = run.path / "evaluations" / "isic2017-12345678"
    folder.mkdir(parents=True)
    scores = run.metrics.roles["selection"]
    (folder / "metrics.json").write_text(json.dumps({"roles": {"external": scores}}))
    (table,) = tables(sections(card_text(RunData(run)))["Other sets"])
    assert table["set"].tolist() == ["isic2017-12345678"]
    assert table["images"].tolist() == [str(scores["images"])]
    assert table["accuracy"].item() == f"{scores['overall']['accuracy']['value']:.2f}"


def test_without_a_decision_report_the_card_says_what_was_not_measured(run):
    assert "not measured" not in sections(card_text(RunData(run)))["Calibration"]
    shutil.rmtree(run.path / "decision")
    text = sections(card_text(RunData(run)))["Calibration"]
    assert "Before scaling: not measured" in text
    assert len(tables(text)[0]) == 1


def test_a_report_of_another_decision_is_refused(run):
    path = run.path / "decision" / "test" / "calibration.csv"
    table = pd.read_csv(path)
    table["log_loss"] += 0.01
    table.to_csv(path, index=False)
    with pytest.raises(UserError, match="other probabilities"):
        card_text(RunData(run))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (FAR.drop(columns="auroc").to_csv(index=False), r"far_ood\.csv .*auroc"),
        (FAR.head(0).to_csv(index=False), r"far_ood\.csv .*no row"),
        ("", r"far_ood\.csv .*No columns"),
        ("a,b\n1,2,3\n4\n1,2,3,4\n", r"far_ood\.csv .*CSV"),
        (
            FAR.astype({"auroc": object}).replace(0.987, "high").to_csv(index=False),
            r"far_ood\.csv, row 3: auroc is 'high'",
        ),
    ],
    ids=["column", "header", "empty", "ragged", "word"],
)
def test_a_file_of_the_name_that_is_something_else_is_refused(run, content, sentence):
    (run.path / "far_ood.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_out_of_distribution(run)


@pytest.mark.parametrize("rows", [0, None], ids=["header", "empty"])
def test_a_table_of_missing_metadata_without_a_row_is_refused(run, rows):
    text = (
        "" if rows is None else pd.DataFrame([everything_given(run, "test")]).head(rows).to_csv(index=False)
    )
    (run.path / "missing_metadata.csv").write_text(text)
    with pytest.raises(UserError, match=r"missing_metadata\.csv (is not a CSV table|has no row)"):
        card_text(RunData(run))


def test_scores_of_another_set_that_are_none_are_refused(run):
    folder = run.path / "evaluations" / "isic2017-12345678"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="role external"):
        card_text(RunData(run))
