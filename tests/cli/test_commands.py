"""The table of commands: help by group, examples that parse, one spelling of each option, old names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import defaultdict

import pytest
import typer

from dermlens.cli.app import OPTIONS, PAPER, VERBS, WORDS, app
from dermlens.cli.commands import EXAMPLES, GROUPS, PANELS
from dermlens.cli.options import recipe_overrides, source_maps
from dermlens.errors import UserError

ROOT = typer.main.get_command(app)
COMMANDS = {name: ROOT.commands[name] for panel in PANELS.values() for name in panel} | {
    f"{group} {name}": ROOT.commands[group].commands[name]
    for group, (_, verbs) in GROUPS.items()
    for name in verbs
}


def options(command):
    return [one for one in command.params if one.param_type_name == "option"]


def test_the_help_names_every_command_and_group_in_order(dermlens):
    code, text, _ = dermlens("--help")
    assert code == 0
    shown = [*PANELS["Use"], *PANELS["Train"], *GROUPS]
    places = [text.index(f"│ {name} ") for name in shown]
    assert places == sorted(places)
    for panel in PANELS:
        assert f"─ {panel} ─" in text
    assert "not a medical device" in " ".join(text.split())


@pytest.mark.parametrize("group", GROUPS)
def test_the_help_of_a_group_lists_its_commands(dermlens, group):
    code, text, _ = dermlens(group, "--help")
    assert code == 0
    for verb in GROUPS[group][1]:
        assert f"│ {verb} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_ends_with_its_examples_a_line_each(dermlens, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    code, text, _ = dermlens(*command.split(), "--help")
    assert code == 0
    lines = [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip()]
    assert lines == list(EXAMPLES[command])


def test_every_command_has_examples_and_every_example_a_command():
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize(
    ("command", "line"), [(command, line) for command, lines in EXAMPLES.items() for line in lines]
)
def test_examples_parse(command, line, tmp_path, monkeypatch):
    """Click itself takes the words apart: unknown options, missing ones and wrong choices are errors."""
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(line)
    assert program == "dermlens"
    own = command.split()
    assert words[: len(own)] == own
    COMMANDS[command].make_context(command, words[len(own) :])


def test_one_spelling_of_every_option():
    spelled, helped = defaultdict(set), defaultdict(set)
    for command in COMMANDS.values():
        for one in options(command):
            spelled[one.opts[0]].add(tuple(one.opts))
            helped[one.opts[0]].add((one.metavar, one.help))
            assert one.help or one.opts == ["--help"], (command.name, one.opts)
    assert {option: found for option, found in spelled.items() if len(found) > 1} == {}
    assert spelled["--out"] == {("--out", "-o")}
    assert spelled["--data"] == {("--data", "-d")}
    for shared in ("--column", "--label", "--value", "--skip", "--classes", "--set", "--json", "--device"):
        assert len(helped[shared]) == 1, shared
    assert {metavar for metavar, _ in helped["--set"]} == {"SECTION.KEY=VALUE"}
    assert not {"--output", "--to"} & set(spelled)


def test_maps_are_wherever_a_recipe_reads_data():
    maps = {"--column", "--label", "--value", "--skip", "--classes"}
    for command in (
        "data verify",
        "data split",
        "start",
        "train",
        "study crossfit",
        "study ablate",
        "analyze unseen-class",
    ):
        assert maps <= {one.opts[0] for one in options(COMMANDS[command])}, command


@pytest.mark.parametrize(("old", "new"), VERBS.items())
@pytest.mark.parametrize("words", [(), ("x", "--output", "y"), ("--help",)], ids=" ".join)
def test_an_old_name_ends_with_the_new_command(dermlens, old, new, words):
    code, out, output = dermlens(old, *words)
    assert (code, out) == (2, "")
    (line,) = output.splitlines()
    assert line.endswith(f"dermlens {new}")
    assert " ".join(word for word in new.split() if not word.startswith("--")) in COMMANDS
    assert old not in ROOT.commands


def test_the_study_of_the_paper_has_left(dermlens):
    code, _, output = dermlens(*PAPER.split(), "--report")
    assert code == 2
    assert "python -m paper" in output


@pytest.mark.parametrize(("path", "new"), OPTIONS.items(), ids=" ".join)
def test_an_old_option_names_the_new_one(dermlens, path, new):
    command, old = path
    code, _, output = dermlens(*command.split(), "x", old, "y")
    assert code == 2
    assert f"it is now {new} " in output
    known = {name for one in options(COMMANDS[command]) for name in one.opts}
    assert new in known
    assert old not in known


@pytest.mark.parametrize(("command", "new"), WORDS.items())
def test_an_old_word_names_its_option(dermlens, command, new):
    required = [
        word for one in options(COMMANDS[command]) if one.required for word in (one.opts[0], "somewhere")
    ]
    code, _, output = dermlens(*command.split(), *required, "x", "y")
    assert code == 2
    assert new in output


@pytest.mark.parametrize("typed", [("da",), ("data", "ver")], ids=" ".join)
def test_completion_finishes_names(typed):
    words = " ".join(("dermlens", *typed))
    asked = {"_DERMLENS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(typed))}
    program = "import sys; sys.argv = ['dermlens']; from dermlens.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [{"da": "data", "ver": "verify"}[typed[-1]]]


def test_maps_are_ours_first():
    maps = source_maps(["dx=Befund"], ["akiec=ACK", "akiec=SCC"], ["sex.male=h", "sex.male=v"], ["Scar"])
    assert maps == {
        "columns": {"dx": "Befund"},
        "labels": {"ACK": "akiec", "SCC": "akiec", "Scar": ""},
        "values": {"sex.male": ["h", "v"]},
    }


@pytest.mark.parametrize(
    ("labels", "skip", "word"),
    [
        (["ACK=akiec"], [], "--label akiec=ACK"),
        (["akiec=ACK", "mel=ACK"], [], "ACK twice"),
        (["akiec=ACK"], ["ACK"], "--skip ACK"),
        (["Narbe, alt="], None, "--skip 'Narbe, alt'"),
        (["=Scar"], None, "--skip Scar"),
        (["akiec="], [], "--label akiec=:"),
    ],
)
def test_maps_that_cannot_be_meant(labels, skip, word):
    with pytest.raises(UserError) as caught:
        source_maps(None, labels, None, skip)
    assert word in str(caught.value)


def test_own_classes_may_be_called_as_ours_are():
    assert source_maps(None, ["Melanom=mel"], None, None, "Melanom,Naevus")["labels"] == {"mel": "Melanom"}


def test_options_become_keys_of_the_recipe():
    from dermlens.recipe import load_recipe

    maps = source_maps(["image_id=Datei"], ["a=x=1"], ["sex.male=h"], ["Scar"], "a,b")
    recipe = load_recipe("demo", recipe_overrides(["seed=3"], maps, "a,b"))
    assert (recipe.seed, recipe.data.classes, recipe.data.columns) == (3, ("a", "b"), {"image_id": "Datei"})
    assert recipe.data.labels == {"x=1": "a", "Scar": ""}
    assert recipe.data.values == {"sex.male": ("h",)}
