from __future__ import annotations

import pandas as pd
import pytest
from tiny_studies import TINY
from tiny_studies import data as data

from dermlens.labels import CLASSES
from dermlens.recipe import load_recipe


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("study", "crossfit", "nosuch", "--data", ".", "--out", "x"), "nosuch"),
        (("study", "crossfit", "demo", "--data", ".", "--out", "x", "--only", "a"), "write fold numbers"),
        (("study", "crossfit", "demo", "--data", ".", "--out", "x", "--only", "0,²"), "write fold numbers"),
        (("study", "crossfit", "demo", "--data", "/nowhere/at/all", "--out", "x"), "/nowhere/at/all"),
        (
            (
                "study",
                "ablate",
            ),
            "matrix",
        ),
        (
            ("study", "ablate", "nosuch", "--data", ".", "--out", "x"),
            "matrix nosuch",
        ),
        (("study", "ablate", "imbalance", "--rescore", "."), "leave MATRIX"),
        (("study", "ablate", "--rescore", "/nowhere/at/all"), "ablation.json"),
        (
            ("study", "ablate", "--rescore", "docs", "--publish", "docs/../docs"),
            "that is the ablation itself",
        ),
        (
            ("study", "ablate", "imbalance", "--data", ".", "--out", "x", "--publish", "x"),
            "--publish x",
        ),
        (
            ("study", "ablate", "imbalance", "--data", ".", "--out", "x", "--set", "split=3"),
            "split: write it as",
        ),
        (("study", "search", "/nowhere/at/all", "--data", ".", "--out", "x"), "is no file"),
        (("study", "search", "README.md", "--data", ".", "--out", "x"), "search README.md"),
        (("study", "ensemble", "/nowhere/at/all", "--out", "x"), "needs two members"),
        (("study", "soft-labels", "/nowhere/at/all"), "predictions.csv"),
        (("study", "soft-labels", ".", "--data", "."), "--data"),
        (("study", "soft-labels", ".", "--device", "cpu", "--cache", "."), "--device, --cache"),
        (("study", "ensemble", ".", ".", "--out", "x", "--cache", "."), "--network"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_gets_one_sentence_and_code_2(dermlens, words, sentence):
    code, _, output = dermlens(*words)
    assert code == 2, output
    assert sentence in output
    assert len(output.strip().splitlines()) == 1


def test_an_ensemble_is_shown(dermlens, tmp_path):
    table = pd.DataFrame(
        [
            {
                "image_id": f"image_{number}", "lesion_id": f"lesion_{number}", "role": "selection",
                "target": code, **dict.fromkeys((f"p_{other}" for other in CLASSES), 0.1), f"p_{code}": 0.4,
                "age": 50, "sex": "male", "site": "back", "dx_type": "histo",
            }
            for number, code in enumerate(CLASSES * 3)
        ]
    )  # fmt: skip
    for name in "ab":
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / "predictions.csv", index=False)
    code, shown, _ = dermlens("study", "ensemble", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "both")
    assert code == 0
    assert "selection: 21 images of 21 lesions" in shown
    assert "recall mel (n = 3)" in shown


SEARCH = """
recipe: RECIPE
space: {train.optimizer.lr: [1e-3, 3e-3]}
sampler: grid
measure: mean_recall
folds: 3
"""


def test_a_search_is_shown_and_its_best_recipe_is_one(dermlens, data, cache, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "search.yaml").write_text(SEARCH.replace("RECIPE", str(tmp_path / "tiny.yaml")))
    words = ("study", "search", tmp_path / "search.yaml", "--data", data, "--out", tmp_path / "out")
    options = ("--set", "train.epochs=1", "--cache", cache, "--device", "cpu")
    code, shown, output = dermlens(*words, *options, "--trials", "1")
    assert code == 0, output
    assert "Trial 0, the best of 1 completed: mean recall" in " ".join(shown.split())
    code, shown, output = dermlens(*words, *options)
    assert code == 0, output
    table = pd.read_csv(tmp_path / "out" / "search.csv")
    assert len(table) == 2
    best = table.loc[table["measure"].idxmax()]
    assert f"Trial {best['trial']}, the best of 2 completed: mean recall {best['measure']:.4g}" in " ".join(
        shown.split()
    )
    recipe = load_recipe(str(tmp_path / "out" / "best.yaml"))
    assert recipe.train.optimizer.lr == best["train.optimizer.lr"]
    assert recipe.train.epochs == 1
    code, _, output = dermlens(*words, "--device", "cpu")  # without what was set
    assert code == 2
    assert "another search" in output
