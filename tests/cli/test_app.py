from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from dermlens.cli import main


def dermlens(*words: str, code: int) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does and insist on its exit code."""
    command = [sys.executable, "-c", "from dermlens.cli import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def test_help_names_every_verb():
    text = dermlens("--help", code=0).stdout
    for verb in (
        "verify",
        "fetch",
        "synthesize",
        "split",
        "models",
        "recipes",
        "train",
        "evaluate",
        "report",
        "publish",
        "compare",
        "export",
        "decision-report",
        "far-ood",
        "near-ood",
        "told-less",
        "predict",
    ):
        assert verb in text
    assert "not a medical device" in " ".join(text.split())


def test_help_imports_nothing_heavy(loaded):
    heavy = ("torch", "pandas", "sklearn", "matplotlib", "numpy")
    assert loaded("import dermlens.cli", "dermlens.cli", *heavy) == {"dermlens.cli"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nosuch",), "No such command"),
        (("train",), "name a recipe and its data"),
        (("train", "demo"), "name a recipe and its data"),
        (("train", "nosuch", "--data", "."), "neither a file nor one of ours"),
        (("train", "demo", "--data", ".", "--set", "train.epoks=3"), "nearest: epochs"),
        (("verify", "/nowhere/at/all"), "/nowhere/at/all"),
        (("evaluate", "/nowhere/at/all"), "is not a run"),
        (("report", "/nowhere/at/all"), "is not a run"),
        (("compare", "/nowhere/at/all"), "is not a run"),
        (("split", "--data", ".", "--test", "0.9", "--selection", "0.2"), "below 1"),
        (("split", "--data", ".", "--column", "image_id"), "--column a=b"),
        (("split", "--data", ".", "--seed", "-1"), "--seed -1: Input should be greater"),
        (("split", "--data", ".", "--holdout", "1.5"), "--holdout 1.5: Input should be less"),
        (("train", "demo", "--resume", "runs/x"), "leave RECIPE"),
        (("synthesize", "/proc/nowhere/x"), "/proc/nowhere"),
        (("synthesize", "x", "--seed", "-1"), "--seed"),
        (("fetch", "nosuch"), "nosuch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_gets_one_sentence_and_code_2(words, sentence):
    done = dermlens(*words, code=2)
    assert sentence in done.stderr
    assert done.stderr.startswith("dermlens: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_ctrl_c_ends_with_130_and_says_what_the_work_said(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt("stopped halfway; go on with --resume")

    monkeypatch.setattr("dermlens.recipe.shipped_recipes", interrupted)
    monkeypatch.setattr("sys.argv", ["dermlens", "recipes"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "dermlens: stopped halfway; go on with --resume\n"


def test_ctrl_c_while_the_verbs_are_loaded_is_one_sentence(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    begin = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['dermlens', '--help']"
    program = f"{begin}; runpy.run_module('dermlens', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "dermlens: interrupted\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("names", [(), ("/x/.y.csv.abc.part",)], ids=["nameless", "named"])
def test_a_full_disk_is_one_sentence(monkeypatch, capsys, number, names):
    def full():
        raise OSError(number, os.strerror(number), *names)

    monkeypatch.setattr("dermlens.recipe.shipped_recipes", full)
    monkeypatch.setattr("sys.argv", ["dermlens", "recipes"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dermlens: the disk is full ({os.strerror(number)})")


def test_what_cannot_be_renamed_is_named_as_it_was_asked_for(tmp_path):
    done = dermlens(
        "synthesize", str(tmp_path / "set"), "--lesions", "56", "--width", "64", "--height", "64", code=0
    )
    done = dermlens("split", "--data", str(tmp_path / "set"), "--output", str(tmp_path), code=2)
    assert done.stderr == f"dermlens: {tmp_path}: Is a directory\n"


def test_export_without_torch_names_both_extras():
    program = "import sys; sys.modules['torch'] = None; from dermlens.cli import main; main()"
    command = [sys.executable, "-c", program, "export", "run", "model"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("dermlens: this needs torch, ")
    assert done.stderr.endswith("pip install 'dermlens[train,export]'\n")


def test_our_own_mistake_is_said_to_be_ours(monkeypatch, capsys):
    monkeypatch.setattr("dermlens.recipe.shipped_recipes", lambda: 1 / 0)
    monkeypatch.setattr("sys.argv", ["dermlens", "recipes"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert "ZeroDivisionError" in capsys.readouterr().err.splitlines()[-1]


def test_a_name_in_brackets_is_not_markup(tmp_path):
    written = dermlens(
        "synthesize", str(tmp_path / "a[b]"), "--lesions", "56", "--width", "64", "--height", "64", code=0
    )
    assert "a[b]" in written.stdout


def test_recipes_can_be_listed_and_printed():
    assert "paper/densenet201" in dermlens("recipes", code=0).stdout
    assert "backbone: densenet201" in dermlens("recipes", "paper/densenet201", code=0).stdout
