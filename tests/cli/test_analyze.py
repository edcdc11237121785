from __future__ import annotations

import importlib
from collections.abc import Callable

import pandas as pd
import pytest
from typer.testing import CliRunner

from dermlens.cli.app import app
from dermlens.errors import UserError


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("analyze", "reliability", "/nowhere", "--out", "x", "--role", "test"), "is not a run"),
        (("analyze", "out-of-distribution", "/nowhere", "-o", "x.csv"), "is not a run"),
        (("analyze", "out-of-distribution", "/nowhere", "-o", "x.csv", "--other", "a="), "--other a=:"),
        (
            ("analyze", "out-of-distribution", "/nowhere", "-o", "x.csv", "--other", "pad=/nowhere/at/all"),
            "/nowhere/at/all",
        ),
        (("analyze", "out-of-distribution", "x", "-o", "y.csv", "--other", "a", "--other", "a"), "a twice"),
        (("analyze", "missing-metadata", "/nowhere", "--role", "test", "-o", "x.csv"), "is not a run"),
        (
            ("analyze", "unseen-class", "nosuch", "--data", ".", "--out", "x"),
            "nosuch",
        ),
        (("analyze", "source-probe", "nosuch", "--data", "."), "nosuch"),
        (("calibrate", "/nowhere"), "is not a run"),
        (("calibrate", "/nowhere", "--not-dermoscopy", "/nowhere/at/all"), "/nowhere/at/all"),
        (("calibrate", "/nowhere", "--not-dermoscopy", "pad="), "--not-dermoscopy pad=:"),
        (("calibrate", "x", "--not-dermoscopy", "a=b", "--not-dermoscopy", "a=c"), "a twice"),
        (("calibrate", "x", "--not-dermoscopy", "b", "--ood", "knn"), "--ood"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_gets_one_sentence(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, UserError)
    assert sentence in str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verb", "place", "name", "words"),
    [
        (
            ("analyze", "out-of-distribution"),
            "dermlens.studies.out_of_distribution",
            "far_ood",
            ["-o", "out.csv", "--other"],
        ),
        (("calibrate",), "dermlens.calibration.dermoscopy", "learn_dermoscopy", ["--not-dermoscopy"]),
    ],
)  # fmt: skip
def test_what_was_read_of_a_set_is_said(tmp_path, monkeypatch, dermlens, verb, place, name, words):
    from dermlens.recipe import Recipe
    from dermlens.runs import Run

    Run.create(tmp_path / "run", Recipe(name="small")).end("completed")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").write_bytes(b"not read here")
    (tmp_path / "set" / "t.csv").write_text("image_id,dx,biopsed\na,nv,1\n")

    def measured(*_: object, say: Callable[[str], None], **__: object) -> pd.DataFrame:
        say("the run's own images")
        return pd.DataFrame({"set": ["x"]})

    monkeypatch.setattr(importlib.import_module(place), name, measured)
    monkeypatch.chdir(tmp_path)
    outcome = dermlens(*verb, tmp_path / "run", *words, f"x={tmp_path / 'set'}")
    assert outcome.code == 0, outcome.err
    out = "".join(outcome.out.split())
    assert "t.csv" in out
    assert "biopsed" in out
    assert "therun'sownimages" in out
