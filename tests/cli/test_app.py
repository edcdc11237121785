from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys

import pytest

from dermlens.cli.app import SentencePrinter

FEW = ("--lesions", "56", "--width", "64", "--height", "64")


def test_help_imports_nothing_heavy(loaded):
    heavy = ("torch", "pandas", "sklearn", "matplotlib", "numpy")
    assert loaded("import dermlens.cli", "dermlens.cli", *heavy) == {"dermlens.cli"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nosuch",), "No such command"),
        (("train",), "recipe and its data"),
        (("train", "demo"), "recipe and its data"),
        (("train", "nosuch", "--data", "."), "nosuch"),
        (("train", "demo", "--data", ".", "--set", "train.epoks=3"), "nearest: epochs"),
        (("data", "verify", "--data", "/nowhere/at/all"), "/nowhere/at/all"),
        (("evaluate", "/nowhere/at/all"), "is not a run"),
        (("report", "/nowhere/at/all"), "is not a run"),
        (("compare", "/nowhere/at/all"), "is not a run"),
        (("data", "split", "--data", ".", "--test", "0.9", "--selection", "0.2"), "below 1"),
        (("data", "split", "--data", ".", "--column", "image_id"), "--column a=b"),
        (("data", "split", "--data", ".", "--seed", "-1"), "--seed -1"),
        (("data", "split", "--data", ".", "--holdout", "1.5"), "--holdout 1.5"),
        (("train", "demo", "--resume", "runs/x"), "leave RECIPE"),
        (("data", "synthesize", "--out", "/proc/nowhere/x"), "/proc/nowhere"),
        (("data", "synthesize", "--out", "x", "--seed", "-1"), "--seed"),
        (("data", "fetch", "nosuch"), "nosuch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_gets_one_sentence_and_code_2(dermlens, words, sentence):
    code, _, output = dermlens(*words)
    assert code == 2, output
    assert sentence in output
    assert output.startswith("dermlens: ")
    assert len(output.strip().splitlines()) == 1


def test_a_mistake_ends_the_process_with_the_sentence_alone():
    command = [sys.executable, "-m", "dermlens", "model", "recipes", "nosuch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("dermlens: recipe nosuch")


def test_ctrl_c_ends_with_130_and_says_what_the_work_said(dermlens, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt("stopped halfway; go on with --resume")

    monkeypatch.setattr("dermlens.recipe.shipped_recipes", interrupted)
    code, _, output = dermlens("model", "recipes")
    assert code == 130
    assert output == "dermlens: stopped halfway; go on with --resume\n"


def test_ctrl_c_while_the_verbs_are_loaded_is_one_sentence(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    begin = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['dermlens', '--help']"
    program = f"{begin}; runpy.run_module('dermlens', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "dermlens: interrupted\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("names", [(), ("/x/.y.csv.abc.part",)], ids=["nameless", "named"])
def test_a_full_disk_is_one_sentence(dermlens, monkeypatch, number, names):
    def full():
        raise OSError(number, os.strerror(number), *names)

    monkeypatch.setattr("dermlens.recipe.shipped_recipes", full)
    code, _, output = dermlens("model", "recipes")
    assert code == 2
    (line,) = output.splitlines()
    assert line.startswith(f"dermlens: the disk is full ({os.strerror(number)})")


def test_what_cannot_be_written_is_named_as_it_was_asked_for(dermlens, tmp_path):
    assert dermlens("data", "synthesize", "--out", tmp_path / "set", *FEW).code == 0
    code, _, output = dermlens("data", "split", "--data", tmp_path / "set", "--out", tmp_path)
    assert code == 2
    assert output.startswith(f"dermlens: {tmp_path} ")
    assert len(output.splitlines()) == 1


def test_export_without_torch_names_both_extras():
    program = "import sys; sys.modules['torch'] = None; from dermlens.cli.app import main; main()"
    command = [sys.executable, "-c", program, "export", "run", "--out", "model"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("dermlens: this needs torch, ")
    assert done.stderr.endswith("pip install 'dermlens[train,export]'\n")


def test_our_own_mistake_is_said_to_be_ours(dermlens, monkeypatch):
    monkeypatch.setattr("dermlens.recipe.shipped_recipes", lambda: 1 / 0)
    code, _, output = dermlens("model", "recipes")
    assert code == 1
    assert "ZeroDivisionError" in output.splitlines()[-1]


def test_a_name_in_brackets_is_not_markup(dermlens, tmp_path):
    code, output, _ = dermlens("data", "synthesize", "--out", tmp_path / "a[b]", *FEW)
    assert code == 0
    assert "a[b]" in output


def test_recipes_can_be_listed_and_printed(dermlens):
    for words, shown in (((), "paper/densenet201"), (("paper/densenet201",), "backbone: densenet201")):
        code, output, _ = dermlens("model", "recipes", *words)
        assert code == 0
        assert shown in output


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "-> epsilon - gamma"), ("cp437", "-> ε - gamma"), ("utf-8", "→ ε – γ")],
)
def test_output_takes_every_encoding(encoding, shown):
    program = (
        "import sys, dermlens.recipe; dermlens.recipe.shipped_recipes = lambda: {'a': '# → ε – γ'};"
        "sys.argv = ['dermlens', 'model', 'recipes']; from dermlens.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding).strip() == f"a: {shown}"


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_output_may_be_closed(redirection):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m dermlens model recipes {redirection}"], capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_has_gone_ends_it_without_a_word():
    command = f"{sys.executable} -m dermlens model recipes | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert done.returncode in (0, 141)
    assert done.stderr == b""


def test_what_readers_announce_is_printed_once(capsys):
    readers = logging.getLogger("test of readers")
    readers.setLevel(logging.INFO)
    readers.addHandler(SentencePrinter())
    for _ in range(2):
        readers.info("%s", "read: [bold]/data/table.csv")
    assert capsys.readouterr().out == "read: [bold]/data/table.csv\n"
