"""A study of two arms and one system, so small that all of it trains in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.labels import CLASSES
from dermlens.studies.matrix import parse_matrix
from paper.plan import Folders
from paper.study import Study, System
from paper.work import Site

RECIPE = """
name: tiny
data: {size: 48, metadata: default}
split: {protocol: grouped, test: 0.15}
model: {backbone: mobilenet_v3_small, pool: gap, heads: 2}
imbalance: {weights: new}
train: {epochs: 2, batch_size: 16, optimizer: {kind: adamw, lr: 0.002}}
evaluation: {bootstrap: 50}
"""
MATRIX = """
name: tiny
about: Whether anything runs.
recipe: RECIPE
folds: 2
images: 100
baseline: base
arms:
  base: {tests: Nothing is changed.}
  focal: {tests: Easy examples fade., set: {imbalance.loss: {kind: focal}}}
"""


def tiny_study(recipe: Path) -> Study:
    """The study, its recipe written to a file."""
    recipe.write_text(RECIPE, encoding="utf-8")
    matrix = parse_matrix(MATRIX.replace("RECIPE", str(recipe)), "tiny")
    system = {"about": "A tiny network.", "column": "md", "epochs": 2, "seeds": 1}
    systems = {
        "here": System(id="here", recipe=str(recipe), without_gpu={"epochs": 1, "seeds": 1}, **system),
        "elsewhere": System(id="elsewhere", recipe=str(recipe), **system),
    }
    return Study({"questions": matrix}, {}, systems)


def tiny_site(data: Path, out: Path, results: Path, cache: Path) -> Site:
    return Site(data, Folders(out, results), "cpu", cache, gpu=False, weights=None)


def trainings(study: Study) -> tuple:
    return study.chosen(("questions", "systems"))


LESIONS = 40


def out_of_fold(right: float, seed: int = 0, folds: int = 3) -> pd.DataFrame:
    """Predictions in several folds, one image a lesion, a share of which is named right in each class."""
    draw = np.random.default_rng(seed)
    target_N = np.tile(np.arange(7), folds * LESIONS)
    named_N = np.where(draw.random(len(target_N)) < right, target_N, (target_N + 1) % 7)
    p_NC = np.full((len(target_N), 7), 0.05)
    p_NC[np.arange(len(target_N)), named_N] = 0.7
    table = pd.DataFrame(p_NC, columns=[f"p_{code}" for code in CLASSES])
    return table.assign(
        image_id=[f"I{number:04d}" for number in range(len(target_N))],
        lesion_id=[f"L{number:04d}" for number in range(len(target_N))],
        target=[CLASSES[index] for index in target_N],
        fold=np.repeat(np.arange(folds), 7 * LESIONS),
        role="out_of_fold",
    )
