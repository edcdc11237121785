"""What is published of the comparison: every value follows from the predictions committed with it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from dermlens.predict.segmenter import Segmenter
from dermlens.sections import EvaluationConfig
from related.away import FOLDER, SOURCES, read_published_away
from related.jaccard import jaccard_scores
from related.publication import read_published
from related.study import load_study
from related.table import table_of
from related.uncertainty import uncertainty_table
from related.unseen import SCORES, unseen_table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "related"
WITHOUT_INTERVALS = EvaluationConfig(bootstrap=0)


@pytest.fixture(scope="module")
def study():
    return load_study()


def check(published, again, names):
    """The same rows with the same values, six digits being published."""
    assert published[names].to_numpy().tolist() == again[names].to_numpy().tolist()
    for column in ("value", "difference"):
        if column in again:
            ours, theirs = published[column].to_numpy(float), again[column].to_numpy(float)
            assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6, nan_ok=True), column


def test_tables_are_recomputed(study):
    folds = read_published(study, RESULTS)
    check(pd.read_csv(RESULTS / "table.csv"), table_of(study, folds, WITHOUT_INTERVALS), ["system", "metric"])
    singletons = read_published(study, RESULTS, "singletons")
    check(
        pd.read_csv(RESULTS / "singletons" / "table.csv"),
        table_of(study, singletons, WITHOUT_INTERVALS),
        ["system", "metric"],
    )
    for source in SOURCES:
        folder = RESULTS / FOLDER / source
        again = table_of(study, read_published_away(study, RESULTS, source), WITHOUT_INTERVALS)
        check(pd.read_csv(folder / "table.csv"), again, ["system", "metric"])
    heads = {name: seeds for name, seeds in folds.items() if study.systems[name].kind == "head"}
    check(
        pd.read_csv(RESULTS / "uncertainty.csv"),
        uncertainty_table(study, heads, WITHOUT_INTERVALS),
        ["system", "metric"],
    )


def test_the_table_of_unseen_classes_is_recomputed():
    scores = pd.read_csv(RESULTS / "unseen" / SCORES, dtype={"image_id": str, "lesion_id": str})
    again = unseen_table(scores, WITHOUT_INTERVALS)
    check(pd.read_csv(RESULTS / "unseen" / "table.csv"), again, ["left_out", "method", "measure"])
    assert not scores.duplicated(["image_id", "left_out"]).any()


def test_the_segmenter_of_the_repository_has_the_index_that_its_images_have():
    """Values and intervals over lesions, from the index of each image; and its card states them."""
    scores = pd.read_csv(RESULTS / "segmentation" / "jaccard.csv", dtype={"image_id": str, "lesion_id": str})
    stated = json.loads((RESULTS / "segmentation" / "jaccard.json").read_text(encoding="utf-8"))
    again = jaccard_scores(
        scores["jaccard"].to_numpy(), scores["lesion_id"].to_numpy(dtype=str), EvaluationConfig()
    )
    assert again["jaccard"] == pytest.approx(stated["jaccard"], abs=2e-6)
    # an index of 0.65 to six digits may have been a little less
    assert again["thresholded"] == pytest.approx(stated["thresholded"], abs=1e-3)
    assert (stated["images"], stated["lesions"]) == (len(scores), scores["lesion_id"].nunique())
    assert not scores["image_id"].duplicated().any()
    segmenter = Segmenter.load(ROOT / "models" / "segmenter")
    measured = segmenter.document.model_dump()["measured"]
    assert measured == {name: stated[name] for name in measured}
    assert (ROOT / "models" / "segmenter" / "segmenter.onnx").stat().st_size < 20_000_000
    card = (ROOT / "models" / "segmenter" / "README.md").read_text(encoding="utf-8")
    for name in ("jaccard", "thresholded"):
        assert "{value:.3f} [{low:.3f}–{high:.3f}]".format(**stated[name]) in card
    assert segmenter.document.licence in card
