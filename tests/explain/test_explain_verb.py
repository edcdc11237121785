"""`dermlens explain` as a person uses it, rubbish included."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from dermlens.cli.analyze import explain
from dermlens.explain.explained import explain_image
from dermlens.explain.methods import METHODS
from dermlens.explain.network import outputs
from dermlens.models.saved import load_model, save_dermoscopy
from dermlens.predict.document import Dermoscopy
from dermlens.predict.patients import Patient
from dermlens.predict.predictor import Predictor, shipped_folder

EXAMPLE = Path(str(files("dermlens.serve.page"))) / "examples" / "a.jpg"


@pytest.fixture
def verb(dermlens, monkeypatch, tmp_path):
    """Run the verb; its exit code, what it says, and what it complains of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DERMLENS_CACHE", str(tmp_path / "cache"))

    def run(*words: object) -> tuple[int, str, list[str]]:
        code, out, err = dermlens("explain", *words)
        return code, out, err.splitlines()

    return run


def test_a_figure_and_sentences_come_out(verb, folders, photo, tmp_path):
    words = (
        photo,
        "--model",
        folders("attention"),
        "--age",
        "60",
        "--class",
        "mel",
        "--out",
        tmp_path / "out" / "a.png",
    )
    code, out, err = verb(*words, "--method", "attention", "--method", "evidence")
    assert (code, err) == (0, [])
    assert "explained: mel (melanoma)" in out
    assert "No nearest training cases" in out
    assert "Research software, not a medical device" in out
    with Image.open(tmp_path / "out" / "a.png") as figure:
        assert figure.width > 1000


def test_the_help_names_every_method():
    option = get_args(get_type_hints(explain, include_extras=True)["method"])[1]
    assert set(METHODS) <= set(re.findall(r"\w+", option.help))


def test_the_shipped_model_answers_as_it_predicts():
    """What is named and how sure the model is agree with `dermlens predict`, views and all."""
    folder = shipped_folder()
    found = explain_image(
        load_model(folder), folder, EXAMPLE, Patient(60.0, "male", "back"), methods=["evidence"]
    )
    [answer] = Predictor.open().predict(EXAMPLE, 60.0, "male", "back")
    assert found.answer.diagnosis == answer.diagnosis
    np.testing.assert_allclose(found.p_C, list(answer.p.values()), atol=1e-3)
    assert found.answer.state == answer.state
    assert any("No nearest training cases" in note for note in found.notes)


def test_without_a_run_the_shipped_model_is_explained(verb, tmp_path):
    code, _, err = verb(EXAMPLE, "--method", "evidence")
    assert (code, err) == (0, [])
    assert (tmp_path / "a_explained.png").is_file()


def test_what_is_no_dermoscopy_is_explained_for_a_class_that_was_asked_for_alone(verb, tmp_path):
    flower = Path(str(files("sklearn.datasets"))) / "images" / "flower.jpg"
    code, out, (line,) = verb(flower, "--method", "evidence")
    assert (code, out) == (2, "")
    assert "dermoscopy" in line
    assert not list(tmp_path.glob("*.png"))
    code, out, err = verb(flower, "--method", "evidence", "--class", "nv")
    assert (code, err) == (0, [])
    assert "explained: nv" in out
    assert "names" not in out
    assert "probability" not in out


def test_the_boundary_alone_withholds(verb, folders, photo):
    """A lesion that is neither strange nor uncoloured, of a model that takes nothing for dermoscopy."""
    folder = folders("gap")
    saved = load_model(folder)
    width = outputs(saved, np.zeros((1, saved.size, saved.size, 3), np.uint8), saved.encoder.missing)[
        1
    ].shape[1]
    assert verb(photo, "--model", folder, "--method", "evidence")[0] == 0
    boundary = {"weights": (0.0,) * width, "bias": -1.0, "kept": 0.98, "dermoscopic": {"own": 9}}
    save_dermoscopy(folder, Dermoscopy(**boundary, other={"street": 9}))
    code, _, (line,) = verb(photo, "--model", folder, "--method", "evidence")
    assert code == 2
    assert "dermoscopy" in line
    save_dermoscopy(folder, Dermoscopy(**boundary | {"weights": (0.0,)}, other={"street": 9}))
    code, _, (line,) = verb(photo, "--model", folder, "--method", "evidence")
    assert code == 2
    assert f"1 weights, and the network {width} features" in line


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "gradcam"], "nearest: grad_cam"),
        (["--method", "attention"], "--method attention"),
        (["--class", "melanoma"], "--class melanoma"),
        (["--age", "400"], "0 to 120"),
        (["--site", "moon"], "--site 'moon'"),
        (["--out", "figure.docx"], "--out figure.docx"),
        (["--out", "."], ". is a folder"),
    ],
)
def test_bad_words_get_one_sentence(verb, folders, photo, tmp_path, words, sentence):
    code, _, err = verb(photo, "--model", folders("gap"), *words)
    assert code == 2
    assert len(err) == 1
    assert sentence in err[0]
    assert not list(tmp_path.glob("*.png")) or [path.name for path in tmp_path.glob("*.png")] == [
        "lesion.png"
    ]


def test_bad_files_get_one_sentence(verb, folders, photo, tmp_path):
    (tmp_path / "no.jpg").write_bytes(b"no image")
    for words, sentence in (
        ([tmp_path / "no.jpg", "--model", folders("gap")], "no.jpg"),
        ([tmp_path / "gone.jpg", "--model", folders("gap")], "gone.jpg"),
        ([photo, "--model", tmp_path / "nowhere"], "nowhere"),
        ([tmp_path, "--model", folders("gap")], "is a folder; explain takes one image"),
        ([folders("gap"), photo], "it is now IMAGE --model RUN"),
    ):
        code, _, err = verb(*words)
        assert code == 2, err
        assert len(err) == 1, err
        assert sentence in err[0]
