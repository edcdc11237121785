from __future__ import annotations

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
            "neither a file nor one of ours",
        ),
        (("analyze", "source-probe", "nosuch", "--data", "."), "neither a file nor one of ours"),
        (("calibrate", "/nowhere"), "is not a run"),
        (("calibrate", "/nowhere", "--not-dermoscopy", "/nowhere/at/all"), "/nowhere/at/all"),
        (("calibrate", "/nowhere", "--not-dermoscopy", "pad="), "--not-dermoscopy pad=:"),
        (("calibrate", "x", "--not-dermoscopy", "a=b", "--not-dermoscopy", "a=c"), "names a twice"),
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
