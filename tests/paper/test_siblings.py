"""Images whose lesion has others in training: how many, and the leak weighed by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.studies.folds import write_images
from paper.report.answers import post_stratified
from paper.siblings import SIBLINGS

PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "paper"


def test_the_paper_scores_996_images():
    counts = pd.read_csv(PUBLISHED / SIBLINGS)
    assert counts["images"].sum() == 996
    assert counts.loc[counts["sibling"], "images"].sum() == 411


def test_the_leak_is_weighed_by_class_and_siblings(predictions, tmp_path):
    clean, leaky = predictions(seed=1), predictions(seed=2)
    write_images(tmp_path / "questions", clean)
    size = clean.groupby("lesion_id")["image_id"].transform("size")
    kinds = list(dict.fromkeys(zip(clean["target"], size > 1, strict=True)))
    counts = pd.DataFrame(kinds, columns=["dx", "sibling"]).assign(images=range(1, len(kinds) + 1))
    counts.to_csv(tmp_path / SIBLINGS, index=False)
    [row] = post_stratified(tmp_path, {"clean": clean, "leaky": leaky}).to_dict("records")
    codes = [name for name in clean if name.startswith("p_")]
    value = {}
    for name, table in (("clean", clean), ("leaky", leaky)):
        right = table[codes].idxmax(axis=1).str.removeprefix("p_") == table["target"]
        shares = [right[(table["target"] == dx) & ((size > 1) == several)].mean() for dx, several in kinds]
        value[name] = np.average(shares, weights=counts["images"])
    assert row["value"] == pytest.approx(value["leaky"])
    assert row["difference"] == pytest.approx(value["leaky"] - value["clean"])
    assert row["low"] < row["difference"] < row["high"]
    assert post_stratified(tmp_path, {"clean": clean}).empty
