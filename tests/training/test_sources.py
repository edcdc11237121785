"""What a training makes of several sources: the prior that it corrects by is that of what it draws."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dermlens.errors import UserError
from dermlens.recipe import Recipe
from dermlens.training import train as training
from dermlens.training.inputs import EpochBatches, Inputs, read_inputs, read_role_plan

SETTINGS = (
    "train.epochs=3",
    "imbalance.weights=none",
    "imbalance.loss={kind: balanced_softmax, prior: source}",
    "imbalance.sampler={kind: lesions, caps: {nv: 5}, by_source: {south: {repeats: {bkl: 3}}}}",
)


@pytest.fixture(scope="module")
def clinics(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic lesions dealt to two clinics, one of which has no melanoma."""
    folder = tmp_path_factory.mktemp("clinics") / "data"
    folder.mkdir()
    shutil.copytree(tiny_data / "images", folder / "images")
    rows = pd.read_csv(tiny_data / "HAM10000_metadata.csv")
    odd = rows["lesion_id"].astype("category").cat.codes % 2 == 1
    rows["dataset"] = np.where(odd & (rows["dx"] != "mel"), "south", "north")
    rows.to_csv(folder / "HAM10000_metadata.csv", index=False)
    return folder


@pytest.fixture
def inputs(tiny_recipe, clinics, cache) -> tuple[Recipe, Inputs]:
    recipe = tiny_recipe(*SETTINGS)
    return recipe, read_inputs(recipe, read_role_plan(recipe, clinics), cache_root=cache)


def test_the_prior_of_a_source_is_its_share_of_all_that_is_drawn(inputs):
    recipe, found = inputs
    counts_SC = np.zeros((2, 7))
    batches = EpochBatches(found, recipe, world=1)
    for epoch in range(recipe.train.epochs):
        batches.trainer = type("At", (), {"current_epoch": epoch, "global_rank": 0})()
        for batch in batches.train_dataloader():
            for row in batch["row"].tolist():
                source = found.sources.index(found.table["source"].iloc[row])
                counts_SC[source, recipe.data.classes.index(found.table["dx"].iloc[row])] += 1
    prior_SC = training.sampled_prior_of_sources(recipe, found).numpy()
    np.testing.assert_allclose(prior_SC, counts_SC / counts_SC.sum(1, keepdims=True), atol=1e-6)
    melanoma = recipe.data.classes.index("mel")
    assert prior_SC[found.sources.index("south"), melanoma] == 0
    assert prior_SC[found.sources.index("north"), melanoma] > 0


def test_a_network_learns_no_melanoma_from_a_clinic_that_has_none(inputs):
    recipe, found = inputs
    task = training.make_task(recipe, found, np.ones(7))
    logits = torch.zeros(2, 7, requires_grad=True)
    south, north = (found.sources.index(name) for name in ("south", "north"))
    nevus = recipe.data.classes.index("nv")
    batch = {"target": torch.tensor([nevus, nevus]), "source": torch.tensor([south, north])}
    gradient = torch.autograd.grad(task._loss_of_images(logits, batch).sum(), logits)[0]
    melanoma = recipe.data.classes.index("mel")
    assert gradient[0, melanoma] == 0
    assert gradient[1, melanoma] > 0


def test_batches_say_where_their_images_come_from(inputs):
    recipe, found = inputs
    batches = EpochBatches(found, recipe, world=1)
    batches.trainer = type("At", (), {"current_epoch": 0, "global_rank": 0, "training": True})()
    batch = batches.on_after_batch_transfer(next(iter(batches.train_dataloader())), 0)
    named = [found.sources[index] for index in batch["source"].tolist()]
    assert named == found.table["source"].iloc[batch["row"].numpy()].tolist()


@pytest.mark.parametrize(
    ("key", "setting"),
    [
        ("data.squashed", "data.squashed={sauth: [4, 3]}"),
        ("imbalance.sampler.by_source", "imbalance.sampler={kind: lesions, by_source: {sauth: {}}}"),
        ("augment.metadata_dropout.by_source", "augment.metadata_dropout={by_source: {sauth: {all: 1.0}}}"),
    ],
)
def test_a_source_that_is_not_there_is_named_before_anything_is_trained(key, setting, tiny_recipe, clinics):
    with pytest.raises(UserError, match=rf"{key}.*sauth.*nearest: south"):
        read_role_plan(tiny_recipe(setting), clinics)
