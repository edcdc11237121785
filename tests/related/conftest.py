"""Fixtures that these tests share with others, and a comparison so small that all of it trains in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_studies import data as data

from dermlens.data.config import SplitConfig
from paper.plan import Folders
from related.study import Study, System
from related.work import Site

SPLIT = SplitConfig(protocol="grouped", test=0.15)
TRAINING = """
name: tiny
data: {size: 32, metadata: none}
split: {protocol: grouped, test: 0.15}
augment: null
model: {backbone: mobilenet_v3_small, attention: none, pool: gap, metadata: none}
train: {epochs: 1, batch_size: 32, keep: last}
"""
FILES = {
    "training.yaml": TRAINING,
    "nevus.yaml": "{name: nevus, features: none, cached: 16, classifier: prior}",
    "forest.yaml": "{name: forest, features: pixels, cached: 16, side: 8, classifier: forest, "
    "settings: {n_estimators: 5}}",
    "prior.yaml": "{name: prior, of: training}",
    "head.yaml": "{name: head, features: pixels, cached: 16, side: 8, head: variational, epochs: 1}",
}


def tiny(folder: Path) -> Study:
    """Five systems, their recipes written to a folder; two folds are scored, a third chooses of two rates."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    rows = {
        "nevus": {"kind": "classical", "seeds": 1},
        "forest": {"kind": "classical", "baseline": "nevus", "cites": "[3]"},
        "training": {"kind": "training", "seeds": 1},
        "prior": {"kind": "adjusted", "seeds": 1, "baseline": "training"},
        "head": {"kind": "head", "seeds": 1, "cites": "[11]"},
    }
    systems = {
        name: System(id=name, title=f"a tiny {name}", recipe=folder / f"{name}.yaml", **row)
        for name, row in rows.items()
    }
    return Study(systems, folds=2, rates=(1e-3, 3e-3))


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("recipes"))


@pytest.fixture(scope="session")
def site_in(data, cache):
    """A site that works in a folder."""
    return lambda out, results=None: Site(data, Folders(out, results or out / "none"), SPLIT, "cpu", cache)
