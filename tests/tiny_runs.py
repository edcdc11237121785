"""A data set and a recipe so small that a whole training takes a second."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dermlens.data.synthetic.folder import write_synthetic
from dermlens.recipe import Recipe, parse_recipe
from dermlens.runs import Run
from dermlens.training.fit import fit

TINY = """
name: tiny
data: {size: 48, metadata: default}
split: {protocol: grouped, selection: 0.2, calibration: 0.15, test: 0.15}
model: {backbone: mobilenet_v3_small, pool: gap, heads: 2}
imbalance: {weights: new}
train: {epochs: 2, batch_size: 16, optimizer: {kind: adamw, lr: 0.002}}
"""


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("tiny") / "data", lesions=60, seed=0, size=(48, 64))


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Recipe]:
    """The recipe, with overrides as on the command line."""
    return lambda *overrides: parse_recipe(TINY, "tiny", overrides)


@pytest.fixture(scope="session")
def plain(
    tiny_data: Path, tiny_recipe: Callable[..., Recipe], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The recipe as it is, trained once; tests read the run and write nothing."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return fit(tiny_recipe(), tiny_data, out=out, device="cpu", cache=cache)


@pytest.fixture
def half(plain: Run, tmp_path: Path) -> Run:
    """The plain run as it would be, had it stopped before its end was written; for a test to change."""
    run = Run(shutil.copytree(plain.path, tmp_path / "half"))
    run.record(status="interrupted")
    return run


@pytest.fixture
def train(tiny_data: Path, cache: Path, tmp_path: Path) -> Callable[..., Run]:
    """Train the tiny recipe with overrides; each call into a new folder."""

    def train(recipe: Recipe, name: str = "run", **options: Any) -> Run:
        return fit(recipe, tiny_data, out=tmp_path / name, device="cpu", cache=cache, **options)

    return train
