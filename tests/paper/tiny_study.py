"""A study of two arms and one system, so small that all of it trains in seconds."""

from __future__ import annotations

from pathlib import Path

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
