from __future__ import annotations

import sys

import pytest

from dermlens.cli.app import main
from paper.__main__ import paper


@pytest.fixture
def run(capsys, monkeypatch):
    """Run `python -m paper` in this process: its exit code and what it wrote."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["paper", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main(paper)
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("pln",), "pln"),
        (("run",), "--data"),
        (("run", "--data", "/nowhere/at/all"), "--out"),
        (("plan", "--only", "questions/bsae"), "questions/base"),
        (("report", "--results", "/nowhere/at/all"), "/nowhere/at/all"),
        (("plan", "--weights", "/nowhere/at/all"), "--weights /nowhere/at/all"),
        (("run", "--data", "/nowhere/at/all", "--out", "x"), "/nowhere/at/all"),
        (("plan", "--results", "/nowhere/at/all"), "/nowhere/at/all"),
        (("plan", "--only", "base"), "questions/base"),
        (("plan", "--only", "nonsense"), "nonsense"),
        (("plan", "--only", ""), "--only"),
        (("plan", "--out", sys.executable), sys.executable),
        (("report", "--results", "."), "."),
        (("publish",), "--data"),
    ],
)
def test_mistakes_get_one_sentence(run, words, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(*words)
    assert code == 2, error
    assert named in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_nothing_done(run, tmp_path):
    """Every run has one of the four states, and the last lines say how long, and what the scale can show."""
    code, out, _ = run("plan", "--results", tmp_path, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 0
    rows = out.split("\n\n")[0].splitlines()[1:]
    assert sum("to do" in row for row in rows) > 60
    assert sum("needs a GPU" in row for row in rows) > 90
    assert all("to do" in row or "needs a GPU" in row for row in rows)
    assert "one run after the other: unknown." in " ".join(out.split())
    assert not any("0.0" in row for row in rows)
    assert "they cannot show" in " ".join(out.split())


def test_weights_are_found_by_backbone(run, tmp_path):
    (tmp_path / "mobilenet_v3_small_a.safetensors").touch()
    (tmp_path / "mobilenet_v3_small_b.safetensors").touch()
    code, _, error = run("plan", "--weights", tmp_path)
    assert code == 2
    assert "mobilenet_v3_small_a.safetensors and mobilenet_v3_small_b.safetensors" in error
