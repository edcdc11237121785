"""What was built for one system trains from a recipe, and a run of it is a run like any other."""

from __future__ import annotations

import pandas as pd
import pytest

from dermlens.recipe import parse_recipe
from dermlens.training.fit import fit

from .conftest import TRAINING

PARTS = {
    "multi_weighted": "imbalance.loss={kind: multi_weighted}",
    "real_world_weight": f"imbalance.loss={{kind: real_world_weight, costs: {[[1.0] * 7] * 7}}}",
    "drop_block": "train.drop_block={side: 3, probability: 0.3}",
    "same_size": 'train.task={kind: "related.views:SameSizeTask", settings: {side: 24}}',
    "brightening": 'augment={plugins: [{kind: "related.brightening:brightening"}]}',
    "randaugment": 'augment={plugins: [{kind: "related.randaugment:modified_randaugment"}]}',
    "two_paths": 'model.backbone="related.two_paths:two_paths"',
}


@pytest.mark.parametrize("part", PARTS)
def test_it_trains(part, data, cache, tmp_path):
    recipe = parse_recipe(TRAINING, "tiny", ["train.epochs=2", PARTS[part]], trust_code=True)
    run = fit(recipe, data, out=tmp_path / "run", device="cpu", cache=cache)
    assert run.read_record().status == "completed"
    assert run.recipe == recipe
    assert pd.read_csv(run.history_file)["train_loss"].notna().all()
