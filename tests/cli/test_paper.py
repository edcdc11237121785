from __future__ import annotations

import sys

import pytest


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("study", "papre"), "'papre' is not"),
        (("study", "paper"), "name the data and a folder to work in"),
        (("study", "paper", "--plan", "--report"), "three errands"),
        (("study", "paper", "--plan", "--only", "questions/bsae"), "nearest: questions/base"),
        (("study", "paper", "--report", "--results", "/nowhere/at/all"), "/nowhere/at/all does not exist"),
        (("study", "paper", "--plan", "--weights", "/nowhere/at/all"), "--weights /nowhere/at/all"),
        (("study", "paper", "--data", "/nowhere/at/all", "--out", "x"), "/nowhere/at/all does not exist"),
        (("study", "paper", "--plan", "--results", "/nowhere/at/all"), "/nowhere/at/all does not exist"),
        (("study", "paper", "--plan", "--only", "base"), "nearest: questions/base"),
        (("study", "paper", "--plan", "--only", "nonsense"), "no such run; --plan lists them all"),
        (("study", "paper", "--plan", "--only", ""), "--only names no run"),
        (("study", "paper", "--plan", "--out", sys.executable), "is a file: name a folder"),
        (("study", "paper", "--report", "--out", "x"), "--report writes to --results"),
        (("study", "paper", "--report", "--results", "."), "holds nothing of the study"),
        (("study", "paper", "--publish"), "--out OUT --publish"),
    ],
)
def test_mistakes_get_one_sentence(dermlens, words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, said = dermlens(*words)
    assert code == 2, said
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_nothing_done(dermlens, tmp_path):
    """Every run has one of the four states, and the last lines say how long, and what the scale can show."""
    words = ("--plan", "--results", tmp_path, "--out", tmp_path / "out", "--device", "cpu")
    code, said, _ = dermlens("study", "paper", *words)
    assert code == 0
    rows = said.split("\n\n")[0].splitlines()[1:]
    assert sum("to do" in row for row in rows) > 60
    assert sum("needs a GPU" in row for row in rows) > 90
    assert all("to do" in row or "needs a GPU" in row for row in rows)
    assert "one run after the other: unknown." in " ".join(said.split())
    assert not any("0.0" in row for row in rows)
    assert "they cannot show" in " ".join(said.split())


def test_weights_are_found_by_backbone(dermlens, tmp_path):
    (tmp_path / "mobilenet_v3_small_a.safetensors").touch()
    (tmp_path / "mobilenet_v3_small_b.safetensors").touch()
    code, _, said = dermlens("study", "paper", "--plan", "--weights", tmp_path)
    assert code == 2
    assert "mobilenet_v3_small_a.safetensors and mobilenet_v3_small_b.safetensors are both of" in said
