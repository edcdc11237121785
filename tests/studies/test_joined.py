from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dermlens.calibration.decision import calibrate_run
from dermlens.data.predictions import read_predictions
from dermlens.errors import UserError
from dermlens.evaluation.evaluate import evaluate_run
from dermlens.export.onnx_export import export_folder
from dermlens.models.classifier import evidence
from dermlens.predict.predictor import Predictor
from dermlens.report.card import card_text
from dermlens.report.provenance import commands
from dermlens.report.run_data import RunData
from dermlens.runs import Run
from dermlens.studies.joined import join
from dermlens.training.fit import fit

METADATA = ("data.metadata=default", "model.metadata=gessert")


@pytest.fixture(scope="module")
def train(recipe, data, cache, tmp_path_factory):
    def train(*overrides: str) -> Path:
        out = tmp_path_factory.mktemp("member") / "run"
        shared = (
            "model.attention=none",
            "model.heads=16",
            "model.pool=gap",
            "split.selection=0.2",
            *METADATA,
        )
        return fit(recipe(*shared, *overrides), data, out=out, device="cpu", cache=cache).path

    return train


@pytest.fixture(scope="module")
def members(train) -> list[Path]:
    """Two networks whose pixels are normalised differently: halved, and by ImageNet's deviations."""
    return [train(), train("model.backbone=mobilenet_v2", "seed=1")]


@pytest.fixture(scope="module")
def made(members, data, cache, tmp_path_factory) -> Run:
    return join(members, tmp_path_factory.mktemp("joined") / "run", device="cpu", cache=cache)


@pytest.fixture(scope="module")
def pixels() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 64, 64), generator=draw), torch.randn(3, 21, generator=draw)


def test_logits_are_the_mean_and_features_are_all_of_the_members(made, members, pixels):
    x_BCHW, meta_BM = pixels
    with torch.inference_mode():
        found = [Run(path).model() for path in members]
        meta_BM = meta_BM[:, : found[0].encoder.width]
        parts = [saved.model(x_BCHW, meta_BM) for saved in found]
        logits_BC, inside = made.model().model(x_BCHW, meta_BM)
    torch.testing.assert_close(logits_BC, (parts[0][0] + parts[1][0]) / 2, rtol=1e-4, atol=1e-5)
    features_BD = torch.cat([part["features_BD"] for _, part in parts], dim=1)
    torch.testing.assert_close(inside["features_BD"], features_BD, rtol=1e-4, atol=1e-5)


def test_evidence_is_the_mean_of_the_members(made, members, pixels):
    x_BCHW, meta_BM = pixels
    maps = []
    with torch.inference_mode():
        for saved in (made.model(), *(Run(path).model() for path in members)):
            found = saved.model(x_BCHW, meta_BM[:, : saved.encoder.width])[1]
            maps.append(evidence(saved.model.head, found["last_BCHW"]))
    torch.testing.assert_close(maps[0], (maps[1] + maps[2]) / 2, rtol=1e-4, atol=1e-5)


def test_it_is_a_run_like_any(made, members, data, cache, tmp_path):
    log_p = []
    for path in (made.path, *members):
        table = read_predictions(path / "predictions.csv").set_index("image_id").sort_index()
        log_p.append(np.log(table[[name for name in table if name.startswith("p_")]]))
    mean = (log_p[1] + log_p[2]) / 2  # of one view: several are averaged as probabilities
    mean = mean.sub(np.log(np.exp(mean).sum(axis=1)), axis=0)
    np.testing.assert_allclose(log_p[0], mean, atol=2e-3)
    assert "test" not in set(made.predictions()["role"])

    calibrate_run(made, device="cpu", cache=cache)
    evaluate_run(made, device="cpu", cache=cache)
    assert "2 networks" in card_text(RunData(made))
    lines = commands(made, ["calibration"], ood=None, decided=True, int8=None)
    assert [line.split()[1:3] for line in lines[:3]] == [
        ["train", "recipe.yaml"],
        ["train", "recipe.yaml"],
        ["study", "ensemble"],
    ]
    document = export_folder(made.path, tmp_path / "export")
    assert document.onnx is not None
    assert document.onnx.largest_difference < 1e-4
    assert Predictor.open(tmp_path / "export").classes == made.model().classes


def test_what_cannot_be_joined_is_refused(members, train, tmp_path):
    attends = train("model.attention=corrected")
    for others, word in (
        ([attends], "model.attention"),
        ([train("split.seed=3")], "split"),
        ([], "two"),
    ):
        with pytest.raises(UserError, match=word):
            join([members[0], *others], tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_the_commands_of_a_member_that_is_a_soup_are_there_too(made, members, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made.path, folder)
    for number, member in enumerate(members, start=1):  # as if the first member were a soup of both
        inner = folder / "members" / "1" / "members" / str(number)
        inner.mkdir(parents=True)
        for name in ("run.json", "recipe.yaml"):
            shutil.copy(member / name, inner / name)
    lines = commands(Run(folder), ["calibration"], ood=None, decided=True, int8=None)[:5]
    assert [line.split()[-1] for line in lines] == ["MEMBER-1-1", "MEMBER-1-2", "MEMBER-1", "MEMBER-2", "RUN"]
    assert lines[2].split()[1:5] == ["study", "soup", "MEMBER-1-1", "MEMBER-1-2"]
