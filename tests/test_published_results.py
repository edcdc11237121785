"""The results under docs/results say what their own predictions say."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dermlens.data.predictions import read_predictions
from dermlens.evaluation.evaluate import evaluate_run, score_other
from dermlens.runs import Run

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.glob("*/run.json"))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and word of a JSON document, with its place; numbers to rounding."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, f"{path}/{key}")
    else:
        yield path, pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value


def test_something_is_published():
    assert PUBLISHED


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_metrics_are_recomputed(folder, tmp_path):
    """To rounding, since processors add in different orders."""
    copy = shutil.copytree(folder, tmp_path / folder.name)
    opened = "test" in json.loads((copy / "metrics.json").read_text())["roles"]
    (copy / "metrics.json").unlink()
    evaluate_run(Run.open(copy), open_test=opened, ledger=tmp_path / "ledger.csv")
    again, stated = (json.loads((path / "metrics.json").read_text()) for path in (copy, folder))
    assert dict(leaves(again)) == dict(leaves(stated))


OTHER_SETS = sorted(path.parent for path in RESULTS.glob("*/evaluations/*/metrics.json"))


@pytest.mark.parametrize("folder", OTHER_SETS, ids=lambda path: path.name)
def test_scores_of_other_sets_are_recomputed(folder):
    stated = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    again = score_other(Run(folder.parents[1]), read_predictions(folder / "predictions.csv.gz"))
    assert dict(leaves(again)) == dict(leaves({name: stated[name] for name in again}))
    assert stated["roles"]["external"]["images"] == stated["data"]["images"]


def test_the_readme_states_the_other_sets_beside_the_own():
    """Melanoma recall of every set that the shipped model was scored on, to two digits."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    own = [folder for folder in OTHER_SETS if folder.parents[1].name == "shipped_model"]
    assert own
    for folder in own:
        scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["roles"]["external"]
        recall = scores["per_class"]["mel"]["recall"]
        assert f"{recall['value']:.2f} [{recall['low']:.2f}–{recall['high']:.2f}]" in text
        assert f"{scores['images']:,}" in text


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_nothing_published_shows_a_patient_or_a_machine(folder):
    names = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert not names & {".png", ".jpg", ".svg", ".html", ".npy", ".npz", ".safetensors"}
    assert '"/' not in (folder / "run.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["docs", "benchmarks", "examples", "src"])
def test_no_file_names_a_machine(folder):
    of_a_machine = re.compile(rb"(?<![\w.:])/(?:home|root|tmp|Users|work|opt|mnt)/[\w.-]+/")
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert files
    assert {path: found for path in files if (found := of_a_machine.findall(path.read_bytes()))} == {}
