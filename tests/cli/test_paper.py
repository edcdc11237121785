from __future__ import annotations

import subprocess
import sys

import pytest


def dermlens(*words: str, code: int) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does and insist on its exit code."""
    command = [sys.executable, "-c", "from dermlens.cli import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


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
    ],
)
def test_mistakes_get_one_sentence(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = dermlens(*words, code=2).stderr
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_nothing_done(tmp_path):
    """Every run has one of the four states, and the last lines say how long, and what the scale can show."""
    said = dermlens("study", "paper", "--plan", "--results", str(tmp_path), "--device", "cpu", code=0).stdout
    rows = said.split("\n\n")[0].splitlines()[1:]
    assert sum("to do" in row for row in rows) > 60
    assert sum("needs a GPU" in row for row in rows) > 90
    assert all("to do" in row or "needs a GPU" in row for row in rows)
    assert "of them were never measured" in said
    assert "they cannot show" in " ".join(said.split())


def test_weights_are_found_by_backbone(tmp_path):
    (tmp_path / "mobilenet_v3_small_a.safetensors").touch()
    (tmp_path / "mobilenet_v3_small_b.safetensors").touch()
    said = dermlens("study", "paper", "--plan", "--weights", str(tmp_path), code=2).stderr
    assert "mobilenet_v3_small_a.safetensors and mobilenet_v3_small_b.safetensors are both of" in said
