"""The main job on synthetic lesions, verb by verb, as the README tells it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from command import exit_code

from dermlens.data.synthetic.folder import write_synthetic

TINY = ("--set", "data.size=32", "--set", "train.epochs=2", "--set", "evaluation.bootstrap=50")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and two finished runs of it."""
    folder = tmp_path_factory.mktemp("world")
    write_synthetic(folder / "data", lesions=120, seed=1, size=(48, 64))
    for name, seed in (("a", 0), ("b", 1)):
        options = ("--data", folder / "data", "--out", folder / name, "--cache", folder / "cache")
        assert exit_code("train", "demo", *options, *TINY, "--set", f"seed={seed}") == 0
        assert exit_code("evaluate", folder / name) == 0
    return folder


def test_a_run_holds_what_the_contract_says(world):
    names = {path.name for path in (world / "a").iterdir()}
    expected = {"run.json", "recipe.yaml", "split.csv", "history.csv", "model.safetensors", "model.json"}
    assert expected | {"predictions.csv", "metrics.json"} <= names
    record = json.loads((world / "a" / "run.json").read_text())
    assert record["status"] == "completed"


def test_the_test_role_stays_closed_until_it_is_opened(world):
    def roles() -> set[str]:
        with (world / "b" / "predictions.csv").open(newline="") as file:
            return {row["role"] for row in csv.DictReader(file)}

    assert roles() == {"selection", "calibration"}
    ledger = world / "ledger.csv"
    assert (
        exit_code("evaluate", world / "b", "--open-test", "--ledger", ledger, "--cache", world / "cache") == 0
    )
    assert roles() == {"selection", "calibration", "test"}
    assert (
        exit_code("evaluate", world / "b", "--open-test", "--ledger", ledger, "--cache", world / "cache") == 0
    )
    with ledger.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2, "every opening is entered"


def test_scores_need_no_images(world, tmp_path):
    """Metrics are recomputed from predictions.csv alone, to the same bytes."""
    metrics = world / "a" / "metrics.json"
    before = metrics.read_bytes()
    (world / "data").rename(world / "moved")
    try:
        assert exit_code("evaluate", world / "a") == 0
    finally:
        (world / "moved").rename(world / "data")
    assert metrics.read_bytes() == before


def test_report_is_one_page_with_recall_first(world, capsys):
    assert exit_code("report", world / "a") == 0
    output = capsys.readouterr().out
    assert "The split is by lesion" in output
    assert "has not been opened" in " ".join(output.split())
    assert f"report: {world / 'a' / 'report.html'}" in output.replace("\n", "")
    page = (world / "a" / "report.html").read_text(encoding="utf-8")
    assert page.lower().index("recall") < page.lower().index("accuracy")
    assert (world / "a" / "model_card.md").is_file()


def test_a_published_run_scores_itself_without_weights_or_pictures(world, tmp_path):
    if not (world / "a" / "report.html").is_file():  # of the test before, where it ran here
        assert exit_code("report", world / "a") == 0
    assert exit_code("model", "publish", world / "a", "--out", tmp_path / "a") == 0
    published = {path.name for path in (tmp_path / "a").iterdir()}
    assert "predictions.csv.gz" in published
    assert not published & {"model.safetensors", "report.html", "figures", "checkpoints"}
    assert str(world) not in (tmp_path / "a" / "run.json").read_text()
    before = (tmp_path / "a" / "metrics.json").read_bytes()
    (tmp_path / "a" / "metrics.json").unlink()
    assert exit_code("evaluate", tmp_path / "a") == 0
    assert (tmp_path / "a" / "metrics.json").read_bytes() == before


def test_another_labelled_set_is_scored_with_the_same_figures(world):
    other = write_synthetic(world / "other", lesions=60, seed=9, size=(48, 64))
    assert exit_code("evaluate", world / "a", "--data", other, "--cache", world / "cache") == 0
    (metrics,) = (world / "a" / "evaluations").glob("*/metrics.json")
    (role,) = json.loads(metrics.read_text())["roles"].values()
    assert role["per_class"]["mel"]["recall"]["value"] is not None


def test_runs_compare(world, capsys):
    assert exit_code("compare", world / "a", world / "b", "--figure", world / "bars.svg") == 0
    assert (world / "bars.svg").stat().st_size > 1000
    capsys.readouterr()
    assert exit_code("compare", world / "a", world / "b", "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_the_paper_protocol_trains_too_and_owns_up_to_its_leak(world, capsys):
    options = ("--data", world / "data", "--out", world / "paper", "--cache", world / "cache", *TINY)
    recipe = ("paper/mobilenet_v3_small", "--set", "model.weights=none", "--set", "split.holdout=0.2")
    assert exit_code("train", *recipe, *options) == 0
    assert exit_code("evaluate", world / "paper") == 0
    assert exit_code("report", world / "paper") == 0
    record = json.loads((world / "paper" / "run.json").read_text())
    assert any("lesion" in warning for warning in record["warnings"])
