from __future__ import annotations

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
