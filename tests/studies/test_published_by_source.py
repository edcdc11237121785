"""Published cross-fits by source say what their own predictions say, of no image of the test role."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from dermlens.data.manifest import HOME, load_manifest
from dermlens.evaluation.transfer import score_source
from dermlens.sections import EvaluationConfig
from dermlens.studies.by_source import RECORD, left_out_predictions

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "travel"
PUBLISHED = sorted(path.parent for path in RESULTS.glob(f"*/{RECORD}"))


def test_there_are_some():
    assert len(PUBLISHED) > 1


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_scores_are_those_of_the_predictions(folder):
    recorded = json.loads((folder / RECORD).read_text(encoding="utf-8"))["sources"]
    sealed = set(load_manifest(HOME).ids("test"))
    for source, table in left_out_predictions(folder).items():
        found = score_source(table, EvaluationConfig(bootstrap=0))
        for key in ("images", "lesions", "support", "kept"):
            assert recorded[source][key] == found[key]
        assert recorded[source]["log_loss"] == pytest.approx(found["log_loss"], rel=1e-6)
        for key in ("macro_auc", "mean_recall"):
            assert recorded[source][key]["value"] == pytest.approx(found[key]["value"], rel=1e-6)
        for code, one in found["auc"].items():
            if one["value"] is not None:
                assert recorded[source]["auc"][code]["value"] == pytest.approx(one["value"], rel=1e-6)
        assert not sealed & set(table["image_id"])
        assert pd.api.types.is_float_dtype(table["p_mel"])
