from __future__ import annotations

import errno
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss
from tiny_studies import TINY

from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.recipe import load_recipe
from dermlens.runs import Run
from dermlens.studies import search as module
from dermlens.studies.search import drawn, measured, open_study, search, tell
from dermlens.studies.space import load_search

P = [f"p_{code}" for code in CLASSES]
SEARCH = """
recipe: RECIPE
set: {data.size: 48}
space:
  train.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}
  imbalance.loss: [{kind: cross_entropy}, {kind: focal, gamma: 1.5}]
measure: log_loss
decision: argmax
folds: 3
trials: 3
seed: 1
"""


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """A search's file with some of its text replaced."""
    folder = tmp_path_factory.mktemp("searches")
    (folder / "tiny.yaml").write_text(TINY)

    def write(*changes):
        text = SEARCH.replace("RECIPE", str(folder / "tiny.yaml"))
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = folder / f"search-{len(list(folder.iterdir()))}.yaml"
        file.write_text(text)
        return file

    return write


@pytest.fixture(scope="module")
def plan(write):
    return load_search(write())


@pytest.fixture(scope="module")
def done(plan, data, cache, tmp_path_factory):
    """A whole search, never interrupted; tests read it and write nothing."""
    out = tmp_path_factory.mktemp("search") / "out"
    search(plan, data, out, device="cpu", cache=cache)
    return out


def untimed(out):
    return pd.read_csv(out / "search.csv").drop(columns="seconds")


def test_the_best_trial_is_the_least_of_the_table(plan, done):
    table = pd.read_csv(done / "search.csv")
    assert list(table.columns) == ["trial", *plan.space, "measure", "state", "seconds"]
    assert table["trial"].tolist() == [0, 1, 2]
    assert set(table["state"]) == {"completed"}
    assert (table["seconds"] > 0).all()
    best = table.loc[table["measure"].idxmin()]
    trained = load_recipe(str(done / "trials" / str(best["trial"]) / "fold-0" / "recipe.yaml"))
    [chosen] = plan.fold_recipes(load_recipe(str(done / "best.yaml"))).values()
    assert chosen == trained
    assert chosen.train.optimizer.lr == best["train.optimizer.lr"]
    assert chosen.imbalance.loss.kind in best["imbalance.loss"]
    lines = (done / "best.yaml").read_text().splitlines()
    head = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
    for fact in (
        f"Trial {best['trial']}, the best of 3",
        f"{best['measure']:.4g}",
        "fold 0 of 3",
        "optimistic",
    ):
        assert fact in head


def test_best_is_written_with_the_splits_of_the_recipe(plan, done):
    """A fold is of the search, and not of the training that follows it."""
    best, base = load_recipe(str(done / "best.yaml")), plan.recipe_of({})
    assert (best.split, best.train.keep, best.train.monitor_role) == (
        base.split, base.train.keep, base.train.monitor_role,
    )  # fmt: skip


def test_a_measure_is_that_of_the_predictions_of_the_one_fold(plan, data, done):
    table = read_configured(data, plan.recipe_of({}).data)
    for _, row in pd.read_csv(done / "search.csv").iterrows():
        run = Run(done / "trials" / str(row["trial"]) / "fold-0")
        found = run.predictions()
        assert set(found["image_id"]) == set(resolve_split(table, run.recipe.split).ids("selection"))
        expected = log_loss(found["target"], found[P], labels=list(CLASSES))
        assert row["measure"] == pytest.approx(expected, rel=1e-6)


def test_of_a_trial_its_history_recipe_and_predictions_stay(done):
    names = {str(path.relative_to(done)) for path in done.rglob("*") if path.is_file()}
    kept = ("run.json", "recipe.yaml", "history.csv", "predictions.csv")
    assert names == {
        "search.yaml", "recipe.yaml", "journal.log", "search.csv", "best.yaml",
        *(f"trials/{number}/fold-0/{name}" for number in range(3) for name in kept),
    }  # fmt: skip


@pytest.mark.parametrize("place", ["first epoch of the second trial", "before its number is entered"])
def test_stopped_anywhere_it_ends_the_same(place, plan, data, cache, done, tmp_path, stop_at, monkeypatch):
    out, options = tmp_path / "out", {"device": "cpu", "cache": cache}
    if place.startswith("first"):
        with stop_at(2), pytest.raises(KeyboardInterrupt, match="same command"):
            search(plan, data, out, **options)
    else:

        def stop(*words):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "tell", stop)
            with pytest.raises(KeyboardInterrupt):
                search(plan, data, out, **options)
    search(plan, data, out, **options)
    pd.testing.assert_frame_equal(untimed(out), untimed(done), check_exact=True)
    assert (out / "best.yaml").read_bytes() == (done / "best.yaml").read_bytes()


@pytest.mark.parametrize("full", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unknown")])
def test_a_full_disk_is_no_failure_of_a_trial(full, plan, data, cache, done, tmp_path, monkeypatch):
    out, options = tmp_path / "out", {"device": "cpu", "cache": cache}
    save, calls = torch.save, []

    def fill(*words):
        calls.append(1)
        if len(calls) == 4:  # the second epoch of the second trial
            raise full
        save(*words)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fill)
        with pytest.raises(UserError, match="make room"):
            search(plan, data, out, **options)
    search(plan, data, out, **options)
    pd.testing.assert_frame_equal(untimed(out), untimed(done), check_exact=True)


def copy_of(done, out):
    return shutil.copytree(done, out)


def test_more_trials_go_on_and_nothing_else_may_change(write, plan, data, cache, done, tmp_path):
    out = copy_of(done, tmp_path / "out")
    options = {"device": "cpu", "cache": cache}
    assert len(search(load_search(write(), trials=4), data, out, **options)) == 4
    pd.testing.assert_frame_equal(untimed(out)[:3], untimed(done))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for change in (("seed: 1", "seed: 2"), ("high: 1e-2", "high: 1e-1"), ("size: 48", "size: 64")):
        with pytest.raises(UserError, match="another search"):
            search(load_search(write(change), trials=4), data, out, **options)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").touch()
    with pytest.raises(UserError, match="no search"):
        search(plan, data, other, **options)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


HOLDER = (
    "import pathlib, sys; from dermlens.files import claimed\n"
    "with claimed(pathlib.Path(sys.argv[1])) as ours:\n"
    "    print(ours, flush=True); sys.stdin.readline()"
)


def test_a_trial_that_another_process_trains_is_left_to_it(plan, data, cache, done, tmp_path):
    out = copy_of(done, tmp_path / "out")
    lines = (out / "journal.log").read_text().splitlines(keepends=True)
    (out / "journal.log").write_text("".join(lines[:-1]))  # the end of the last trial
    words = [sys.executable, "-c", HOLDER, out / "trials" / "2" / ".lock"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        table = search(plan, data, out, device="cpu", cache=cache)
        assert table["state"].tolist() == ["completed", "completed", "running"]
        holder.communicate("done\n")
    search(plan, data, out, device="cpu", cache=cache)
    pd.testing.assert_frame_equal(untimed(out), untimed(done), check_exact=True)


DIVERGES = ("{low: 1e-4, high: 1e-2, log: true}", "[1e+30, 0.002]")
GRID = ("seed: 1", "seed: 1\nsampler: grid")


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(write, data, cache, tmp_path):
    one_loss = ("imbalance.loss: [{kind: cross_entropy}, {kind: focal, gamma: 1.5}]", "seed: 1")
    plan = load_search(write(DIVERGES, (f"  {one_loss[0]}\n", ""), GRID))
    table = search(plan, data, tmp_path / "out", device="cpu", cache=cache).set_index("train.optimizer.lr")
    assert table["state"].to_dict() == {"1.0e+30": "failed", "0.002": "completed"}
    assert np.isnan(table.loc["1.0e+30", "measure"])
    assert load_recipe(str(tmp_path / "out" / "best.yaml")).train.optimizer.lr == 0.002
    failed = tmp_path / "out" / "trials" / str(table.loc["1.0e+30", "trial"]) / "fold-0"
    assert "diverged" in json.loads((failed / "run.json").read_text())["error"]
    assert not (failed / "checkpoints").exists()


def test_a_search_of_failures_says_so_and_can_be_given_again(write, data, cache, tmp_path):
    frozen = (
        "{low: 1e-4, high: 1e-2, log: true}",
        "{low: 1e-4, high: 1e-2}\n  train.frozen_blocks: [98, 99]",
    )
    plan = load_search(write(frozen), trials=2)
    with pytest.raises(UserError, match="2 trials none"):
        search(plan, data, tmp_path / "out", device="cpu", cache=cache)
    assert not (tmp_path / "out").exists()


# The sampler, with an objective that trains nothing.


def fake(plan, out, *, restart=False):
    """All trials of a search whose measure is the square of the distance of log10 lr to −3."""
    study = open_study(plan, out)
    while len(past := study.get_trials()) < plan.most:
        study.add_trial(drawn(plan, past))
        if restart:
            study = open_study(plan, out)
        trial = study.get_trials()[-1]
        lr = float(trial.params["train.optimizer.lr"])
        tell(plan, study, trial.number, (np.log10(lr) + 3) ** 2, out)
    return pd.read_csv(out / "search.csv")


def test_trials_are_a_function_of_the_search_whoever_draws_them(write, tmp_path):
    plan = load_search(write(), trials=15)
    first = fake(plan, tmp_path / "a")
    pd.testing.assert_frame_equal(fake(plan, tmp_path / "b", restart=True), first)
    other = fake(load_search(write(("seed: 1", "seed: 2")), trials=15), tmp_path / "c")
    assert not other["train.optimizer.lr"].isin(first["train.optimizer.lr"]).any()
    assert first["train.optimizer.lr"].is_unique
    assert first["train.optimizer.lr"].between(1e-4, 1e-2).all()


def test_later_trials_are_nearer_to_the_best(write, tmp_path):
    found = fake(load_search(write(), trials=40), tmp_path)["measure"]
    assert found[20:].median() < found[:10].median() / 2


def test_more_is_better_where_the_measure_says_so(write, tmp_path):
    table = fake(load_search(write(("log_loss", "mean_recall")), trials=5), tmp_path)
    best = load_recipe(str(tmp_path / "best.yaml"))
    assert best.train.optimizer.lr == table.loc[table["measure"].idxmax(), "train.optimizer.lr"]


def test_values_are_on_their_steps(write, tmp_path):
    whole = ("  imbalance.loss:", "  train.epochs: {low: 1, high: 7, step: 3}\n  imbalance.loss:")
    steps = ("  imbalance.loss:", "  imbalance.exponent: {low: 0, high: 1, step: 0.25}\n  imbalance.loss:")
    table = fake(load_search(write(whole, steps), trials=25), tmp_path)
    assert set(table["train.epochs"]) == {1, 4, 7}
    assert set(table["imbalance.exponent"]) <= {0, 0.25, 0.5, 0.75, 1}


def test_a_grid_has_every_combination_once(write, tmp_path):
    plan = load_search(write(("{low: 1e-4, high: 1e-2, log: true}", "[1e-4, 1e-3, 1e-2]"), GRID), trials=50)
    table = fake(plan, tmp_path, restart=True)
    found = list(zip(table["train.optimizer.lr"], table["imbalance.loss"], strict=True))
    losses = ["{kind: cross_entropy}", "{gamma: 1.5, kind: focal}"]
    assert sorted(found) == sorted(itertools.product([1e-4, 1e-3, 1e-2], losses))


@pytest.mark.parametrize("damage", [b"notes\n", b"\xff\xfe\n", b"[1]\n", b'{"op_code": 99}\n', b"\xff\nhalf"])
def test_a_damaged_journal_is_named_and_stays(damage, plan, tmp_path):
    fake(plan, tmp_path)
    path = tmp_path / "journal.log"
    content = damage + path.read_bytes() if damage.endswith(b"\n") else path.read_bytes() + damage
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        open_study(plan, tmp_path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == content


def test_a_line_of_the_journal_that_a_kill_cut_is_left_out(plan, tmp_path):
    whole = fake(plan, tmp_path / "whole")
    text = (tmp_path / "whole" / "journal.log").read_text()
    for end in range(0, len(text), 97):
        out = tmp_path / str(end)
        out.mkdir()
        (out / "journal.log").write_text(text[:end])
        study = open_study(plan, out)
        for trial in study.get_trials():
            if not trial.state.is_finished():
                lr = trial.params["train.optimizer.lr"]
                tell(plan, study, trial.number, (np.log10(lr) + 3) ** 2, out)
        if len(study.get_trials()) < plan.most:
            pd.testing.assert_frame_equal(fake(plan, out), whole)


# The measure.


def test_measures_of_probabilities_as_they_come_are_those_of_scikit_learn(predictions):
    table = predictions(skill=1.0)
    named = np.array(CLASSES)[table[P].to_numpy().argmax(axis=1)]
    recall = balanced_accuracy_score(table["target"], named)
    assert measured(table, "mean_recall", "argmax") == pytest.approx(recall)
    assert measured(table, "accuracy", "argmax") == pytest.approx((named == table["target"]).mean())


def test_at_equal_shares_the_prior_of_the_network_decides_nothing(predictions):
    """Weighed towards one class, the same network is as good once it is scaled, and worse as it comes."""
    table = predictions(images=1400, skill=1.5)
    prior = np.array([1, 1, 1, 1, 1, 30, 1])
    weighed = table[P] * prior
    tilted = table.assign(**weighed.div(weighed.sum(axis=1), axis=0))
    for measure in ("log_loss", "mean_recall"):
        assert measured(tilted, measure, "equal") == pytest.approx(
            measured(table, measure, "equal"), rel=0.01
        )
        assert measured(tilted, measure, "argmax") != pytest.approx(
            measured(table, measure, "argmax"), rel=0.1
        )


# Mistakes.


def test_the_example_of_the_documentation_is_a_search(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    (tmp_path / "search.yaml").write_text(
        re.search(r"```yaml\n(about: Which rate.*?)```", text, re.DOTALL)[1]
    )
    load_search(tmp_path / "search.yaml").check()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("folds: 3", "foldz: 3", "foldz is not a key of a search; nearest: folds"),
        ("measure: log_loss", "measure: log_los", "measure 'log_los'"),
        ("high: 1e-2", "hihg: 1e-2", "hihg is not a key of a search; nearest: high"),
        ("high: 1e-2", "high: 1e-4", "is not below"),
        ("low: 1e-4", "low: 0", "log needs low above 0"),
        ("log: true", "step: 0.002", "steps of 0.002"),
        ("high: 1e-2", "high: .inf", "a finite number"),
        ("high: 1e-2", "high: '1e-2'", "a valid number"),
        ("[{kind: cross_entropy}, {kind: focal, gamma: 1.5}]", "[{kind: cross_entropy}]", "imbalance.loss"),
        ("{kind: focal, gamma: 1.5}", "{kind: cross_entropy}", "a value twice"),
        ("{low: 1e-4, high: 1e-2, log: true}", "0.1", "train.optimizer.lr: write a list"),
        ("  imbalance.loss:", "  split.seed:", "split.seed is the same for all trials"),
        ("  imbalance.loss:", "  data.skip:", "data.skip is the same for all trials"),
        ("  imbalance.loss:", "  data.folders:", "data.folders is the same for all trials"),
        ("  imbalance.loss:", "  data.reader:", "data.reader is the same for all trials"),
        ("  imbalance.loss:", "  paper.siblings:", "paper.siblings is the same for all trials"),
        ("  imbalance.loss:", "  train.keep:", "train.keep is the same for all trials"),
        ("  imbalance.loss:", "  seed:", "seed is the same for all trials"),
        ("  imbalance.loss:", "  imbalance:", "imbalance: write it as section.key"),
        ("data.size: 48", "imbalance.loss.gamma: 2", "would replace imbalance.loss.gamma"),
        ("data.size: 48", "split.fold: 2", "split.fold follows"),
        ("trials: 3", "trials: 0", "trials 0"),
        ("trials: 3", "sampler: grid", "choices alone"),
        ("trials: 3", "scored: [0, 3]", "from 0 to 2"),
        ("trials: 3", "scored: []", "scored"),
    ],
)
def test_a_mistake_in_a_search_is_one_sentence(old, new, sentence, write):
    file = write((old, new))
    with pytest.raises(UserError) as error:
        load_search(file)
    assert sentence in str(error.value)
    assert str(error.value).startswith((f"search {file}: ", f"search {file}, line "))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("optimizer.lr", "optimizer.lrr", "nearest: lr"),
        ("gamma: 1.5", "gama: 1.5", "nearest: gamma"),
        ("high: 1e-2", "high: 1e-2}\n  train.ema: {low: 0.9, high: 1.5", "train.ema=1.5"),
        ("high: 1e-2", "high: 1e-2}\n  train.batch_size: {low: 8, high: 64.0", "train.batch_size"),
        # each value is one of a recipe, and two of them together are not
        (
            "  imbalance.loss:",
            "  train.schedule: [{kind: constant}, {kind: cosine, warmup_epochs: 3}]\n  train.epochs: [3, 2]\n"
            "  imbalance.loss:",
            "train.epochs=2",
        ),
        ("  imbalance.loss:", "  train.schedule.kind: [cosine, plateau]\n  imbalance.loss:", "plateau"),
    ],
)
def test_an_impossible_trial_is_found_before_the_first_is_trained(old, new, sentence, write, data, tmp_path):
    with pytest.raises(UserError) as error:
        search(load_search(write((old, new))), data, tmp_path / "out", device="cpu")
    assert sentence in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_looks_at_what_is_scored_is_mended_by_the_space(write, tmp_path):
    """Values are tried on the recipe with the others of a trial, and never on the recipe alone."""
    base = tmp_path / "watching.yaml"
    kinds = ("  imbalance.loss:", "  train.schedule.kind: [constant, cosine]\n  imbalance.loss:")
    file = write(kinds)
    watching = file.read_text().replace(str(file.parent / "tiny.yaml"), str(base))
    base.write_text(TINY.replace("train: {", "train: {schedule: {kind: plateau}, "))
    file.write_text(watching)
    load_search(file).check()
    file.write_text(watching.replace("constant", "plateau"))
    with pytest.raises(UserError, match=r"train\.schedule\.kind=plateau"):
        load_search(file).check()


def test_of_a_large_space_every_value_is_tried(write):
    wide = (
        "  train.batch_size: [1, 2, 3, 4]\n  train.epochs: [1, 2, 3, 4]\n"
        "  imbalance.exponent: [0.1, 0.2, 0.3, 0.4]\n  data.size: [32, 64, 96, 9999]\n"
    )
    plan = load_search(
        write(("  imbalance.loss:", f"{wide}  imbalance.loss:"), ("set: {data.size: 48}\n", ""))
    )
    with pytest.raises(UserError, match=r"data\.size=9999.*not possible"):
        plan.check()


def test_a_study_without_optuna_names_the_extra(plan, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"dermlens\[search\]"):
        search(plan, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
