from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from dermlens.labels import CLASSES


def dermlens(*words: str, code: int) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does and insist on its exit code."""
    command = [sys.executable, "-c", "from dermlens.cli import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("crossfit", "nosuch", "--data", ".", "--out", "x"), "neither a file nor one of ours"),
        (("crossfit", "demo", "--data", ".", "--out", "x", "--only", "a"), "write fold numbers"),
        (("crossfit", "demo", "--data", ".", "--out", "x", "--only", "0,²"), "write fold numbers"),
        (("crossfit", "demo", "--data", "/nowhere/at/all", "--out", "x"), "/nowhere/at/all"),
        (("ablate",), "name a matrix, its data and a folder"),
        (
            ("ablate", "nosuch", "--data", ".", "--out", "x"),
            "matrix nosuch is neither a file nor one of ours",
        ),
        (("ablate", "imbalance", "--rescore", "."), "leave MATRIX"),
        (("ablate", "--rescore", "/nowhere/at/all"), "has no ablation.json"),
        (("ablate", "--rescore", "docs", "--publish", "docs/../docs"), "that is the ablation itself"),
        (
            ("ablate", "imbalance", "--data", ".", "--out", "x", "--publish", "x"),
            "--publish x: that is the ablation itself",
        ),
        (("ablate", "imbalance", "--data", ".", "--out", "x", "--set", "split=3"), "split: write it as"),
        (("ensemble", "/nowhere/at/all", "--out", "x"), "needs two members"),
        (("soft-labels", "/nowhere/at/all"), "has no predictions.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_gets_one_sentence_and_code_2(words, sentence, tmp_path):
    done = dermlens(*words, code=2)
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_ensemble_is_shown(tmp_path):
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
    words = [str(tmp_path / name) for name in "ab"]
    shown = dermlens("ensemble", *words, "--out", str(tmp_path / "both"), code=0).stdout
    assert "selection: 21 images of 21 lesions" in shown
    assert "recall mel (n = 3)" in shown
