"""The plan tells the state of every run; work that is killed anywhere ends as if it had not been."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from dermlens.errors import UserError
from dermlens.runs import Run
from paper.batch import run_all, write_plan
from paper.plan import Folders, hours_left, plan
from paper.publication import publish
from paper.study import paper_study
from paper.work import Worker

from .tiny_study import tiny_site, tiny_study, trainings

PROGRAM = Path(__file__).with_name("killed_work.py")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.mktemp("recipe") / "tiny.yaml")


@pytest.fixture(scope="module")
def done(study, data, cache, tmp_path_factory):
    """All that can be trained here, never interrupted; tests read it and write nothing."""
    out = tmp_path_factory.mktemp("study") / "out"
    output: list[str] = []
    worker = Worker(study, tiny_site(data, out, out / "none", cache), say=output.append)
    assert worker.work(trainings(study)) == []
    assert sum("done in" in line for line in output) == 3
    return out


@pytest.fixture(scope="module")
def published(study, done, data, tmp_path_factory):
    """What is published of that; tests read it and write nothing."""
    results = tmp_path_factory.mktemp("published") / "results"
    publish(study, data, done, results)
    return results


def states(study, out, results, **options):
    rows = plan(study, study.jobs, Folders(out, results), gpu=False, **options)
    return {row.job.id: row.state for row in rows}


def test_the_plan_before_and_after(study, done, tmp_path):
    before = states(study, tmp_path, tmp_path)
    assert before == {
        "questions/base": "to do",
        "questions/focal": "to do",
        "probes/here": "to do",
        "probes/elsewhere": "to do",
        "systems/here/seed-0": "to do",
        "systems/elsewhere/seed-0": "needs a GPU",
    }
    trained = ("questions/base", "questions/focal", "systems/here/seed-0")
    assert states(study, done, tmp_path) == before | dict.fromkeys(trained, "done")


def test_with_a_gpu_a_short_training_is_not_the_end(study, done, tmp_path):
    rows = plan(study, study.chosen(("systems",)), Folders(done, tmp_path), gpu=True)
    assert {row.job.id: row.state for row in rows} == {
        "systems/here/seed-0": "to do",
        "systems/elsewhere/seed-0": "to do",
    }


def test_what_is_published_is_done_without_the_working_folder(study, published, tmp_path):
    assert states(study, None, published)["questions/focal"] == "done"
    assert states(study, tmp_path / "new", published)["systems/here/seed-0"] == "done"
    again = plan(study, study.jobs, Folders(tmp_path / "new", published, again=True), gpu=False)
    assert {row.state for row in again} == {"to do", "needs a GPU"}
    hours, unknown = hours_left(again)
    assert hours > 0  # the arms take what the published ones took
    assert unknown == 3  # no system was probed, nor was a probe measured


def test_nothing_published_shows_a_machine_or_a_patient(published, data):
    run = published / "systems" / "here" / "seed-0"
    assert {file.name for file in run.iterdir()} == {
        "predictions.csv.gz",
        "history.csv",
        "recipe.yaml",
        "run.json",
    }
    assert set(pd.read_csv(run / "predictions.csv.gz")["role"]) == {"selection"}
    assert json.loads((run / "run.json").read_text())["form"] == "short"
    for file in published.rglob("*"):
        if file.suffix in (".json", ".yaml", ".md", ".csv"):
            assert str(data.parent) not in file.read_text(encoding="utf-8"), file


def test_what_another_machine_published_stays(study, done, published, data, tmp_path):
    results = shutil.copytree(published, tmp_path / "results")
    other = shutil.copytree(done, tmp_path / "other")
    shutil.rmtree(other / "questions" / "arms" / "focal")
    shutil.rmtree(other / "systems")
    names = ("questions/predictions/focal.csv.gz", "questions/ablation.csv", "systems/here/seed-0/run.json")
    before = [(results / name).read_bytes() for name in names]
    publish(study, data, other, results)
    assert [(results / name).read_bytes() for name in names] == before


def test_a_run_that_fails_is_named_and_the_others_go_on(study, done, data, cache, tmp_path):
    recipe = tmp_path / "broken.yaml"
    broken = tiny_study(recipe)
    recipe.write_text(recipe.read_text().replace("pool: gap", "pool: gap, weights: nowhere.safetensors"))
    site = tiny_site(data, tmp_path / "out", tmp_path / "none", cache)
    jobs = broken.chosen(("systems/here", "systems/elsewhere"))
    lines: list[str] = []
    failed = Worker(broken, site, say=lines.append).work(jobs)
    assert [job.id for job in failed] == ["systems/here/seed-0"]
    assert "nowhere.safetensors" in lines[-1]
    tiny_study(recipe)  # mended
    assert Worker(broken, site, say=lambda _: None).work(jobs) == []


@dataclass
class Note:
    id: str
    needs: tuple[str, ...] = ()


@pytest.mark.parametrize("processes", [1, 2])
def test_jobs_follow_what_they_need_and_wait_for_what_failed(tmp_path, processes):
    jobs = [Note("a"), Note("bad"), Note("b", ("a",)), Note("c", ("bad",)), Note("d", ("b",))]

    def do(job: Note) -> None:
        if job.id == "bad":
            raise OSError("disk full")
        (tmp_path / job.id).write_text(str(len(list(tmp_path.iterdir()))))

    left = run_all(jobs, do, lambda name: (tmp_path / name).is_file(), processes=processes)
    assert [job.id for job in left] == ["bad", "c"]
    assert [(tmp_path / name).read_text() for name in "abd"] == ["0", "1", "2"]
    assert not (tmp_path / "c").exists()


def test_a_plan_file_has_a_command_a_job(tmp_path):
    write_plan(tmp_path / "plan", "paper", [Note("x/a"), Note("x/b")], ["--data", "my data", "--out", "o"])
    lines = (tmp_path / "plan").read_text().splitlines()
    assert [shlex.split(line)[-2:] for line in lines] == [["--only", "x/a"], ["--only", "x/b"]]
    assert "my data" in shlex.split(lines[0])


def test_killed_at_random_it_ends_as_if_it_had_not_been(study, done, published, data, cache, tmp_path):
    """A kill leaves no time to tidy up. The same tables come out, bit by bit, but for times."""
    out = tmp_path / "out"
    words = [sys.executable, PROGRAM, study.systems["here"].recipe, data, out, tmp_path / "none", cache]
    places = [str(PROGRAM.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    worked = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, env=environment
    )
    assert worked.returncode == 0, worked.stderr
    assert int(worked.stdout) > 1
    for name in ("questions/arms/base/predictions.csv", "questions/arms/focal/predictions.csv"):
        assert (out / name).read_bytes() == (done / name).read_bytes(), name
    ours, theirs = (Run(folder / "systems" / "here" / "seed-0") for folder in (out, done))
    assert ours.predictions_file.read_bytes() == theirs.predictions_file.read_bytes()
    publish(study, data, out, tmp_path / "again")
    for name in ("questions/ablation.csv", "counts.csv", "questions/images.csv.gz"):
        assert (tmp_path / "again" / name).read_bytes() == (published / name).read_bytes(), name


def test_the_shipped_study_is_whole():
    """Every arm, reading, probe and training has one name, and needs only what there is."""
    shipped = paper_study()
    names = [job.id for job in shipped.jobs]
    assert len(names) == len(set(names))
    assert {name for job in shipped.jobs for name in job.needs} <= set(names)
    assert {"leak/clean", "questions/base", "questions/readings/given", "probes/vgg16-ad"} <= set(names)
    with pytest.raises(UserError, match="questions/bsae': the study has no such run; nearest: quest"):
        shipped.chosen(("questions/bsae",))
    assert len(shipped.chosen(("probes",))) == len(shipped.systems)
