"""A tiny exported model, made once, and images to show it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from dermlens.labels import CLASSES
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.models.saved import SavedModel, load_model, save_decision, save_model
from dermlens.predict.decision_document import (
    Abstention,
    DecisionDocument,
    Mark,
    Ood,
    Scaling,
    Sets,
    Suspicion,
)
from dermlens.predict.metadata import make_encoder
from dermlens.predict.pictures.preprocessing import ViewsConfig
from dermlens.predict.priors import ClassPrior, default_prior

SIZE = 32
PRIOR = (0.04, 0.06, 0.11, 0.02, 0.11, 0.65, 0.01)

DECISION = DecisionDocument(
    classes=CLASSES,
    prior=ClassPrior(name="clinic", shares=PRIOR),
    scaling=Scaling(temperature=1.5, bias=(0.1, 0, 0, -0.2, 0, 0.3, 0)),
    suspicion=Suspicion(
        malignant=("bcc", "mel"),
        premalignant=("akiec",),
        reference=default_prior(CLASSES),
        marks=(
            Mark(catches=0.9, threshold=0.5, source="clinic", benign_flagged=0.2),
            Mark(catches=0.95, threshold=0.3, source="clinic", benign_flagged=0.4),
        ),
    ),
    sets=Sets(thresholds=(0.1, 0.12, 0.14, 0.16, 0.05, 0.2, 0.3), lesions=(30,) * 7),
    ood=Ood(kind="energy", threshold=100.0, kept=0.95),
    abstention=Abstention(least_confidence=0.3),
)


def save_tiny(
    folder: Path, *, views: ViewsConfig | None = None, decided: bool = True, **settings
) -> SavedModel:
    """A network whose answers differ from image to image, though it has learnt nothing."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"backbone": "mobilenet_v3_small", "pool": "gap", **settings})
    encoder = make_encoder("default").fit([30.0, 50.0], ["male", "female"], ["back", "face"])
    model = build_classifier(config, num_classes=7, meta_width=encoder.width, size=SIZE)
    top, bottom = torch.rand(2, 64, 3, 1, 1)
    side = SIZE if config.pool == "flatten" else 2 * SIZE
    ramp = torch.linspace(0, 1, side)[:, None].expand(side, side)
    noise = torch.rand(64, 3, side, side)
    x_BCSS = (255 * torch.cat([top * ramp + bottom * (1 - ramp), noise])).to(torch.uint8)
    meta_BM = torch.zeros(len(x_BCSS), encoder.width)
    with torch.no_grad():
        for module in model.modules():  # statistics of something, or nothing of an image reaches the end
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        model.train()(x_BCSS, meta_BM)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # one scale a layer: quiet channels stay quiet
                module.running_var.fill_(module.running_var.mean())
        logits_BC, _ = model.eval()(x_BCSS, meta_BM)
        scale = 1 / logits_BC.std(dim=0).mean()
        model.head.linear.weight.mul_(scale)
        model.head.linear.bias.mul_(scale).sub_(scale * logits_BC.mean(dim=0))
    seen = {} if views is None else {"views": views}
    save_model(folder, SavedModel(model, config, CLASSES, SIZE, "center", encoder, **seen))
    if decided:
        save_decision(folder, DECISION, {})
    return load_model(folder)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `dermlens export` makes it: four symmetries, two sizes, metadata, a decision.

    Made once for all processes of pytest-xdist, since torch's exporter takes its time; tests read it alone.
    """
    from dermlens.export.onnx_export import export_folder

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(shared / "exported.lock"):
        if not (shared / "exported").is_dir():
            made = tmp_path_factory.mktemp("export")
            save_tiny(made / "run", views=ViewsConfig(symmetries=4, sizes=(32, 64)))
            export_folder(made / "run", made / "model", limits=("It has learnt nothing.",))
            (made / "model").rename(shared / "exported")
    return shared / "exported"


@pytest.fixture
def no_export(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of torch's exporter, which takes its time: the model that is there already."""
    import onnx

    proto = onnx.load(exported / "model.onnx")
    monkeypatch.setattr("torch.onnx.export", lambda *words, **options: SimpleNamespace(model_proto=proto))


def draw(path: Path, seed: int, size: tuple[int, int] = (96, 72), **options) -> Path:
    """A blotch on skin, unlike the others, and fit to be looked at."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    blotch = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < rng.uniform(5, height / 2) ** 2)[..., None]
    pixels = np.where(
        blotch, rng.integers((90, 30, 20), (150, 70, 60)), rng.integers((200, 140, 120), (240, 190, 170))
    ) + rng.integers(-9, 9, (height, width, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, **options)
    return path


@pytest.fixture(scope="session")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, one of them below."""
    folder = tmp_path_factory.mktemp("lesions")
    (folder / "more").mkdir()
    for seed, name in enumerate(("a.jpg", "b.png", "c.JPG", "more/d.jpeg")):
        draw(folder / name, seed)
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
