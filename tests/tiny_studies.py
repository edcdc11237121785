"""Data, recipe and one whole cross-fit so small that a fold trains in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.data.synthetic.folder import write_synthetic
from dermlens.labels import CLASSES
from dermlens.recipe import Recipe, parse_recipe
from dermlens.studies.crossfit import crossfit
from dermlens.training.task import LesionTask

TINY = """
name: tiny
data: {size: 48, metadata: default}
split: {protocol: grouped, test: 0.15}
model: {backbone: mobilenet_v3_small, pool: gap, heads: 2}
imbalance: {weights: new}
train: {epochs: 2, batch_size: 16, optimizer: {kind: adamw, lr: 0.002}}
evaluation: {bootstrap: 50}
"""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("studies") / "data", lesions=70, seed=3, size=(48, 64))


@pytest.fixture(scope="session")
def recipe() -> Callable[..., Recipe]:
    """The recipe, with overrides as on the command line."""
    return lambda *overrides: parse_recipe(TINY, "tiny", overrides)


@pytest.fixture(scope="session")
def whole(
    recipe: Callable[..., Recipe], data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A cross-fit of three folds, never interrupted; tests read it and write nothing."""
    out = tmp_path_factory.mktemp("whole") / "crossfit"
    crossfit(recipe(), data, out, folds=3, device="cpu", cache=cache)
    return out


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Ctrl-C in the second epoch of the n-th training from here."""

    @contextmanager
    def stop(training: int) -> Iterator[None]:
        begun, step = [], LesionTask.training_step

        def training_step(self, batch, batch_idx):
            if (self.current_epoch, batch_idx) == (1, 1):
                begun.append(1)
                if len(begun) == training:
                    raise KeyboardInterrupt
            return step(self, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(LesionTask, "training_step", training_step)
            yield

    return stop


@pytest.fixture
def predictions() -> Callable[..., pd.DataFrame]:
    """Out-of-fold predictions from a generator; equal images and lesions whatever the seed."""

    def make(images: int = 300, *, seed: int = 0, skill: float = 1.5, folds: int = 3) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        lesion_N = np.arange(images) // 2
        target_N = lesion_N % len(CLASSES)
        logits_NC = rng.normal(size=(images, len(CLASSES)))
        logits_NC[np.arange(images), target_N] += skill
        p_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
        frame = pd.DataFrame(p_NC, columns=[f"p_{code}" for code in CLASSES])
        return frame.assign(
            image_id=[f"image_{number:05d}" for number in range(images)],
            lesion_id=[f"lesion_{number:05d}" for number in lesion_N],
            role="out_of_fold",
            target=[CLASSES[index] for index in target_N],
            age=50.0,
            sex="female",
            site="back",
            dx_type="histo",
            fold=lesion_N // len(CLASSES) % folds,
        )

    return make
