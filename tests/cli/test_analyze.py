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
        (("decision-report", "/nowhere", "--out", "x", "--role", "test"), "is not a run"),
        (("far-ood", "/nowhere", "--output", "x.csv"), "no strangers: name a folder"),
        (("far-ood", "/nowhere", "--output", "x.csv", "--set", "pad"), "--set pad: write it as --set a=b"),
        (("far-ood", "/nowhere", "-o", "x.csv", "--set", "pad=/nowhere/at/all"), "/nowhere/at/all"),
        (("told-less", "/nowhere", "--role", "test", "-o", "x.csv"), "is not a run"),
        (("learn-dermoscopy", "/nowhere", "--other", "pad=/nowhere/at/all"), "/nowhere/at/all"),
        (("learn-dermoscopy", "/nowhere", "--other", "pad"), "--other pad: write it as --other a=b"),
        (("learn-dermoscopy", "/nowhere"), "is not a run"),
        (("learn-dermoscopy", "x", "--other", "a=b", "--other", "a=c"), "--other names a twice"),
        (("near-ood", "nosuch", "--data", ".", "--out", "x"), "neither a file nor one of ours"),
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
        ("far-ood", "dermlens.studies.out_of_distribution", "far_ood", ["-o", "out.csv", "--set"]),
        ("learn-dermoscopy", "dermlens.calibration.dermoscopy", "learn_dermoscopy", ["--other"]),
    ],
)
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
    said = dermlens(verb, tmp_path / "run", *words, f"x={tmp_path / 'set'}")
    assert said.code == 0, said.err
    out = "".join(said.out.split())
    assert "t.csv" in out
    assert "biopsed" in out
    assert "therun'sownimages" in out
