"""The example of docs/edge.md, run as a person would, without dermlens."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_models import draw

from dermlens.export.engines import ENGINES
from dermlens.models.saved import load_model
from dermlens.predict.decision import REASONS
from dermlens.predict.document import Typical
from dermlens.predict.patients import Patient
from dermlens.predict.picture import Picture
from dermlens.predict.pictures.preprocessing import LIMITS
from dermlens.predict.predictor import Predictor

EXAMPLE = Path(__file__).parents[2] / "examples" / "raspberry_pi.py"


@pytest.fixture(scope="module")
def model(exported, tmp_path_factory) -> Path:
    """The exported model, its views at one size."""
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("edge") / "model")
    document = json.loads((folder / "model.json").read_text())
    document["views"]["sizes"] = []
    (folder / "model.json").write_text(json.dumps(document | {"manifest": None}))
    return folder


def answers(*words) -> list[tuple[str, str, dict[str, float]]]:
    """File, named class and probabilities of each line that has some."""
    done = subprocess.run(
        [sys.executable, EXAMPLE, *map(str, words)], capture_output=True, text=True, check=True
    )
    assert "not a medical device" in done.stdout
    return [
        (
            line.partition(":")[0],
            named[1],
            {code: float(p) for code, p in re.findall(r"(\w+) (0\.\d+)", line)},
        )
        for line in done.stdout.splitlines()
        if (named := re.search(r"most likely (\w+)", line))
    ]


def test_it_answers_as_dermlens_does(model, tmp_path):
    files = [draw(tmp_path / f"{seed}.{end}", seed, (90, 70)) for seed, end in enumerate(("png", "jpg"))]
    answer = {"age": 71, "sex": "male", "site": "scalp"}
    predictor = Predictor.open(model)
    for patient in ({}, answer):
        words = [word for key, value in patient.items() for word in (f"--{key}", value)]
        given = {key: [value] * 2 for key, value in patient.items()}
        expected = predictor.predict(files, **given)
        found = answers(model, *files, *words)
        assert [name for name, _, _ in found] == [file.name for file in files]
        for (_, named, p), one in zip(found, expected, strict=True):
            assert named == one.diagnosis
            assert p == pytest.approx(one.p, abs=2e-4)


def test_one_view_is_close(model, tmp_path):
    file = draw(tmp_path / "a.png", 5)
    ((_, _, all_views),) = answers(model, file)
    ((_, _, one_view),) = answers(model, file, "--one-view")
    assert one_view == pytest.approx(all_views, abs=0.2)
    assert one_view != all_views


def run_predict(model, *words) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLE, *map(str, (model, *words))], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("section", "limits"),
    [
        ("ood", {"threshold": -1000.0}),
        ("abstention", {"least_confidence": 0.999999}),
        ("abstention", {"least_confidence": None, "largest_set": 1}),
        ("abstention", {"least_confidence": None, "largest_set": None}),
    ],
)
def test_it_abstains_as_dermlens_does(model, tmp_path, section, limits):
    folder = shutil.copytree(model, tmp_path / "model")
    document = json.loads((folder / "model.json").read_text())
    document["decision"][section] |= limits
    (folder / "model.json").write_text(json.dumps(document | {"manifest": None}))
    files = [draw(tmp_path / f"{seed}.png", seed, (90, 70)) for seed in range(4)]
    lines = run_predict(folder, *files).stdout.splitlines()
    for line, one in zip(lines, Predictor.open(folder).predict(files), strict=False):
        reasons = one.reason.partition("image quality")[0].strip("; ").split("; ")
        assert [word for word in REASONS if word in line] == [word for word in reasons if word]
        assert ("most likely" in line) != one.withheld


@pytest.mark.parametrize("by", ["boundary", "distance"])
def test_it_tells_dermoscopy_as_dermlens_does(model, by, tmp_path):
    """By a feature, so that some of the pictures are and some are not: the first get an answer."""
    files = [draw(tmp_path / f"{seed}.png", seed, (90, 70)) for seed in range(6)]
    folder = shutil.copytree(model, tmp_path / "model")
    predictor = Predictor.open(folder)
    pictures = [Picture(file) for file in files]
    features_ND = predictor.outputs(pictures, predictor.encode([Patient()] * len(files)))[1]
    weights = [0.0] * features_ND.shape[1]
    feature = int(features_ND.std(axis=0).argmax())
    weights[feature] = 10.0
    document = json.loads((folder / "model.json").read_text())
    document["decision"]["ood"]["threshold"] = -1000.0
    document["dermoscopy"] = {
        "weights": weights, "bias": -10 * float(np.median(features_ND[:, feature])), "kept": 0.98,
        "dermoscopic": {"own": 9}, "other": {"telephone": 9},
    }  # fmt: skip
    if by == "distance":
        middle_D, direction = features_ND.mean(axis=0), np.eye(len(weights))[feature]
        shape = {"scale": [2.0] * len(weights), "directions": [direction], "variances": [0.1], "rest": 3.0}
        typical = Typical(mean=middle_D, farthest=1.0, **shape)
        farthest = float(np.median(typical.distances(features_ND)))
        document["dermoscopy"] |= {"bias": 1e6, "typical": typical.model_dump() | {"farthest": farthest}}
    (folder / "model.json").write_text(json.dumps(document | {"manifest": None}))
    lines = run_predict(folder, *files).stdout.splitlines()
    answers = Predictor.open(folder).predict(files)
    assert {one.withheld for one in answers} == {False, True}
    for line, one in zip(lines, answers, strict=False):
        assert ("most likely" in line) != one.withheld
        assert ("it does not look like dermoscopy" in line) == one.withheld
        assert "unlike the images" in line


def test_what_is_not_in_the_colours_of_skin_is_uncertain(model, tmp_path):
    with Image.open(draw(tmp_path / "a.png", 3)) as picture:
        picture.convert("L").save(tmp_path / "grey.png")
    (line,) = [
        line for line in run_predict(model, tmp_path / "grey.png").stdout.splitlines() if "grey" in line
    ]
    assert "not in the colours of skin" in line
    assert "uncertain" in line
    assert "most likely" in line
    text = EXAMPLE.read_text(encoding="utf-8")
    assert f"REDNESS = {', '.join(str(one.value) for one in LIMITS if one.measure == 'redness')}\n" in text


def test_rubbish_gets_a_sentence(model, tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    whole = draw(tmp_path / "b.png", 3)
    done = run_predict(model, tmp_path / "a.png", tmp_path / "none.png", whole)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["a.png", "none.png"]
    assert "most likely" in done.stdout
    done = run_predict(model, whole, "--site", "bak")
    assert done.returncode == 1
    assert done.stderr == "--site bak: not a site that this model knows; leave it out if nobody knows it\n"


@pytest.mark.skipif(
    find_spec("litert_torch") is None, reason="pip install 'dermlens[litert]' writes the file"
)
def test_it_runs_the_litert_file(model, tmp_path):
    folder = tmp_path / "lite"
    ENGINES["litert"].write(load_model(model), folder)
    shutil.copyfile(model / "model.json", folder / "model.json")
    file = draw(tmp_path / "a.png", 6)
    ((_, named, p),) = answers(folder, file, "--site", "back")
    ((_, expected_named, expected),) = answers(model / "model.onnx", file, "--site", "back")
    assert named == expected_named
    assert p == pytest.approx(expected, abs=2e-4)


def test_it_needs_no_more_than_it_says():
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    first = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert first == {"numpy", "PIL", "onnxruntime", "ai_edge_litert"}
