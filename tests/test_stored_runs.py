"""A run answers for itself, old ones too; torch and pandas come when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import UserError
from dermlens.files import read_json, write_json
from dermlens.runs import Run

PUBLISHED = Path(__file__).parents[1] / "docs" / "results"
SCORED = [path.parent for path in PUBLISHED.rglob("metrics.json")]
FOLDERS = sorted(folder for folder in SCORED if (folder / "run.json").is_file())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_stored_run_answers_for_itself(folder):
    run = Run.open(folder)
    metrics, predictions, split = run.metrics, run.predictions(), run.split()
    assert run.recipe.data.classes == tuple(metrics.classes)
    assert run.read_record().model_dump(exclude_unset=True) == read_json(run.record_file)
    assert metrics.model_dump(exclude_unset=True, by_alias=True) == read_json(run.metrics_file)
    for role, scores in metrics.roles.items():
        of_role = predictions[predictions["role"] == role]
        assert scores["images"] == len(of_role)
        assert set(of_role["image_id"]) == set(split.ids(role))
        p_NC = of_role[[f"p_{code}" for code in metrics.classes]].to_numpy()
        highest = np.array(metrics.classes)[p_NC.argmax(axis=1)]
        named = highest if metrics.decision == "argmax" else of_role["diagnosis"]
        assert scores["overall"]["accuracy"]["value"] == pytest.approx((named == of_role["target"]).mean())


def test_there_are_stored_runs():
    assert len(FOLDERS) >= 2


def test_what_an_older_run_does_not_say_is_empty(tmp_path):
    run = Run(tmp_path)
    assert run.read_record().status is None
    assert not run.is_completed
    write_json(run.record_file, {"status": "completed", "parameters": 7, "of_another_version": [1]})
    run.record(warnings=["one"])
    assert run.read_record().parameters == 7
    assert read_json(run.record_file)["of_another_version"] == [1]
    assert (run.history(), run.document(), run.members, run.scored_sets) == (None, None, [], [])


@pytest.mark.parametrize(
    ("file", "content", "key"),
    [
        ("run.json", {"status": "nearly"}, "status"),
        ("run.json", {"counts": {"train": {"mel": "many"}}}, "counts.train.mel"),
        ("metrics.json", {"roles": {"test": {"overall": {"accuracy": 0.5}}}}, "roles.test.overall.accuracy"),
    ],
)
def test_a_document_that_is_not_as_it_should_be_names_file_and_key(tmp_path, file, content, key):
    write_json(tmp_path / file, content)
    run = Run(tmp_path)
    with pytest.raises(UserError) as found:
        run.read_record() if file == "run.json" else run.metrics
    assert str(tmp_path / file) in str(found.value)
    assert key in str(found.value)


def test_images_that_are_not_there_are_said_to_be_elsewhere(tmp_path):
    run = Run(tmp_path)
    write_json(run.record_file, {"data": str(tmp_path / "gone")})
    assert not run.has_images()
    with pytest.raises(UserError, match="--data"):
        run.table()
    assert run.images(tmp_path) == tmp_path


def test_runs_are_read_without_torch_or_pandas():
    code = "import sys, dermlens.runs; print(*{'torch', 'pandas', 'sklearn', 'lightning'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
