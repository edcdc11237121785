"""Tiny networks of every kind that an explanation may meet, and a lesion to explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from saved_models import save_tiny

from dermlens.explain.methods import METHODS, Draw, kernel_shap
from dermlens.explain.network import Heat
from dermlens.labels import CLASSES
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.models.saved import SavedModel, load_model, save_model
from dermlens.predict.metadata import make_encoder

TINY = {
    "gap": {"attention": "none", "metadata": "gessert"},
    "attention": {"attention": "corrected", "metadata": "paper"},
    "film": {"attention": "none", "metadata": "film"},
    "flatten": {"attention": "corrected", "metadata": "gessert", "pool": "flatten"},
}
"""Settings of networks with a linear head behind their map."""
PLAIN = {"backbone": "mobilenet_v3_large", "cut": "plain", "attention": "none", "metadata": "none"}
"""The uncut network, which has no map."""
SIDE = 64
FEW = 64


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model of a kind, made when it is first asked for."""
    root = tmp_path_factory.mktemp("tiny")

    def folder(kind: str) -> Path:
        if not (root / kind).is_dir():
            if kind == "plain":
                _save(root / kind, PLAIN, "none")
            elif kind == "flatten":
                _save(root / kind, TINY[kind], "default")
            else:
                save_tiny(root / kind, **TINY[kind])
        return root / kind

    return folder


@pytest.fixture(scope="session")
def tiny(folders: Callable[[str], Path]) -> Callable[[str], SavedModel]:
    """A tiny model of a kind, loaded once, at a size at which its map has four positions."""
    return cache(lambda kind: replace(load_model(folders(kind)), size=SIDE))


@pytest.fixture(scope="session")
def lesion() -> np.ndarray:
    """A square with a blotch off its middle, and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = ((x - 24) ** 2 + (y - 36) ** 2 < 240)[..., None]
    pixels = np.where(inside, (120, 60, 40), (220, 170, 150)) + rng.integers(-12, 12, (SIDE, SIDE, 3))
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def explain(tiny: Callable[[str], SavedModel], lesion: np.ndarray) -> Callable[..., Heat]:
    """The heat of a method for a kind of model and a class, drawn once; few coalitions for Kernel SHAP."""

    @cache
    def heat(name: str, kind: str, target: int = 4) -> Heat:
        return draw_of(name)(tiny(kind), lesion, patient(tiny(kind)), target)

    return heat


@pytest.fixture
def photo(lesion: np.ndarray, tmp_path: Path) -> Path:
    """The lesion as a file, larger than the network's square."""
    path = tmp_path / "lesion.png"
    Image.fromarray(lesion).resize((128, 128)).save(path)
    return path


def draw_of(name: str) -> Draw:
    """A method, Kernel SHAP with few coalitions."""
    return partial(kernel_shap, samples=FEW) if name == "kernel_shap" else METHODS[name].draw


def patient(saved: SavedModel, age: float | None = 60.0, sex: str = "male", site: str = "back") -> np.ndarray:
    """meta_M of somebody."""
    return saved.encoder.encode([age], [sex], [site])[0]


def _save(folder: Path, settings: dict[str, str], metadata: str) -> None:
    """A network as it is before training."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate(settings)
    encoder = make_encoder(metadata).fit([30.0, 50.0], ["male", "female"], ["back", "face"])
    model = build_classifier(config, num_classes=7, meta_width=encoder.width, size=SIDE)
    save_model(folder, SavedModel(model, config, CLASSES, SIDE, "center", encoder))
