"""Recipe and commands of a card: they make the run again, and name no machine."""

from __future__ import annotations

import shlex

import pytest

from dermlens.evaluation.ledger import without_paths
from dermlens.recipe import parse_recipe
from dermlens.report.provenance import commands, differences, recipe_text
from dermlens.runs import Run

SETTINGS = [
    (),
    ("train.epochs=3", "seed=7"),
    ("augment.mix={kind: mixup}", "imbalance.loss={kind: focal, gamma: 1.5}"),
    ("data.also_train=[/somewhere/else/isic2017]", "model.weights=/home/someone/w.safetensors"),
    ("train.resize=[{until: 2, size: 128}]", "model.pool=gap", "imbalance.confirmation={consensus: 0.7}"),
]


@pytest.mark.parametrize("ours", SETTINGS, ids=len)
@pytest.mark.parametrize("theirs", SETTINGS, ids=len)
def test_differences_turn_one_recipe_into_the_other(ours, theirs):
    first, other = (parse_recipe("name: a", "here", settings) for settings in (ours, theirs))
    again = parse_recipe(recipe_text(first), "here", differences(first, other))
    assert recipe_text(again) == recipe_text(other)
    assert bool(differences(first, other)) == (ours != theirs)


def test_no_path_of_a_machine_is_left():
    recipe = parse_recipe("name: a", "here", SETTINGS[3])
    text = recipe_text(recipe)
    assert "isic2017" in text
    assert "w.safetensors" in text
    assert "/" not in text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/x/y z/w.csv", "w.csv"),
        ("x/y", "x/y"),
        (
            "distillation={soft_labels: /a/soft.csv, weight: 0.5}",
            "distillation={soft_labels: soft.csv, weight: 0.5}",
        ),
        ("--out=/a/b", "--out=b"),
        ("data.also_train=[/a/b, '/c/d e']", "data.also_train=[b, 'd e']"),
        ("https://a.b/c/d, N/(C·N_i), and/or, ../a/b", "https://a.b/c/d, N/(C·N_i), and/or, ../a/b"),
    ],
)
def test_paths_among_words_keep_their_last_part(text, kept):
    assert without_paths({"a": [text, 3]}) == {"a": [kept, 3]}


def test_a_training_is_one_command(tmp_path):
    run = Run.create(tmp_path / "run", parse_recipe("name: a", "here"))
    (run.path / "decision" / "test").mkdir(parents=True)
    output = commands(run, ["test", "selection"], ood="knn", decided=True, int8=True)
    assert output == [
        "dermlens train recipe.yaml --data DIR --out RUN",
        "dermlens calibrate RUN --ood knn",
        "dermlens evaluate RUN --open-test",
        "dermlens analyze reliability RUN --role test --out RUN/decision/test",
        "dermlens report RUN",
        "dermlens export RUN --out FOLDER --format onnx-int8",
    ]
    plain = commands(run, ["selection"], ood=None, decided=False, int8=False)
    assert plain[1:] == ["dermlens evaluate RUN", "dermlens report RUN", "dermlens export RUN --out FOLDER"]


def test_sets_scored_without_metadata_have_a_command_of_their_own(tmp_path):
    run = Run.create(tmp_path / "run", parse_recipe("name: a", "here"))
    for name in ("far_ood.csv", "far_ood_without_metadata.csv", "my_ood.csv"):
        (run.path / name).write_text("set\n")
    output = commands(run, [], ood=None, decided=False, int8=False)
    far = "dermlens analyze out-of-distribution RUN --photographs FOLDER --other NAME=FOLDER"
    assert [line for line in output if "ood" in line] == [
        f"{far} --out RUN/far_ood.csv",
        f"{far} --no-metadata --out RUN/far_ood_without_metadata.csv",
    ]


def test_an_average_names_its_members_by_what_sets_them_apart(tmp_path):
    recipes = [parse_recipe("name: a", "here"), parse_recipe("name: b", "here", SETTINGS[2])]
    run = Run.create(tmp_path / "run", recipes[0])
    for number, recipe in enumerate(recipes, start=1):
        Run.create(run.path / "members" / str(number), recipe)
    first, second, averaged, *_ = commands(run, [], ood=None, decided=False, int8=False)
    assert first == "dermlens train recipe.yaml --data DIR --out MEMBER-1"
    words = shlex.split(second)
    settings = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    assert recipe_text(parse_recipe(recipe_text(recipes[0]), "here", [*settings, "name=b"])) == recipe_text(
        recipes[1]
    )
    assert averaged == "dermlens study soup MEMBER-1 MEMBER-2 --out RUN"
