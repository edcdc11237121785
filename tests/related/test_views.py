"""Views and subsets by hand; a system of either kind is run from what another has trained."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from dermlens.data.predictions import read_predictions
from dermlens.errors import UserError
from dermlens.runs import Run
from related.study import Study, System, read_recipe
from related.subset import best_subset, mean_of_members
from related.views import ViewsRecipe, mean_of_views, ordered_crops, random_crops, scaled_views
from related.work import Worker


def test_ordered_crops_go_from_edge_to_edge():
    row_S = np.arange(7, dtype=np.uint8)
    x_BSS3 = np.broadcast_to((10 * row_S[:, None] + row_S)[None, :, :, None], (1, 7, 7, 3))
    corners = [int(crop[0, 0, 0, 0]) for crop in ordered_crops(x_BSS3, 3, 3)]
    assert corners == [0, 2, 4, 20, 22, 24, 40, 42, 44]
    assert [crop.shape for crop in ordered_crops(x_BSS3, 3, 2)] == [(1, 3, 3, 3)] * 4


def test_scaled_views_are_the_centre_and_its_flips():
    x_BSS3 = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    views = list(scaled_views(x_BSS3, 4, (0.5, 1.0)))
    assert len(views) == 8
    centre = x_BSS3[:, 2:6, 2:6]
    flips = [centre, centre[:, :, ::-1], centre[:, ::-1], centre[:, ::-1, ::-1]]
    for view, theirs in zip(views[:4], flips, strict=True):
        assert np.array_equal(view, theirs)
    assert np.array_equal(views[5], views[4][:, :, ::-1])


def test_random_crops_are_of_their_image_and_reach_every_place():
    x_BCSS = torch.arange(36.0).view(1, 1, 6, 6).repeat(300, 1, 1, 1)
    torch.manual_seed(0)
    crops = random_crops(x_BCSS, 4)
    assert crops.shape == (300, 1, 4, 4)
    corners = crops[:, 0, 0, 0]
    assert {int(one) for one in corners} == {6 * top + left for top in range(3) for left in range(3)}
    steps_44 = 6 * torch.arange(4.0)[:, None] + torch.arange(4.0)
    torch.testing.assert_close(crops[:, 0], corners[:, None, None] + steps_44)


@pytest.mark.parametrize(
    "views", ["cached: 160", "cached: 160, crops: 2, scales: [1]", "cached: 64, crops: 3"]
)
def test_views_that_are_none_or_too_large_are_refused(views, tmp_path):
    (tmp_path / "a.yaml").write_text(f"{{name: a, of: b, side: 128, {views}}}")
    with pytest.raises(UserError, match=r"a\.yaml"):
        read_recipe(ViewsRecipe, tmp_path / "a.yaml")


def test_views_are_averaged_as_probabilities():
    class Model:
        def eval(self):
            return lambda x_BCHW, meta_BM: (
                torch.stack([x_BCHW[:, 0, 0, 0].float(), meta_BM[:, 0]], dim=1),
                {},
            )

    class Saved:
        model = Model()

    x_BSS3 = np.zeros((1, 33, 33, 3), np.uint8)
    x_BSS3[0, 0, 0] = 2
    recipe = ViewsRecipe(name="a", of="b", cached=33, side=32, crops=2)
    p_BC = mean_of_views(Saved(), recipe, x_BSS3, np.zeros((1, 1), np.float32))
    first = (1 / (1 + np.exp(-2)) + 3 * 0.5) / 4  # one crop of four has the bright corner
    np.testing.assert_allclose(p_BC, [[first, 1 - first]])


def table(image_id, target, named):
    rows = pd.DataFrame({"image_id": image_id, "lesion_id": image_id, "role": "selection", "target": target})
    for code in "ab":
        rows[f"p_{code}"] = [0.8 if code == one else 0.2 for one in named]
    return rows


def test_the_subset_is_chosen_by_mean_recall_and_of_equals_the_smallest():
    truth = list("aabb")
    chooses = {
        "poor": table(list("wxyz"), truth, list("bbbb")),
        "good": table(list("zyxw"), truth[::-1], list("bbaa")),  # in another order
        "other": table(list("wxyz"), truth, list("aabb")),
    }
    assert best_subset(chooses) == ("good",)
    mean = mean_of_members([chooses["good"], chooses["poor"]])
    assert mean["image_id"].tolist() == list("wxyz")
    assert mean["p_a"].tolist() == pytest.approx([0.5, 0.5, 0.2, 0.2])


@pytest.fixture(scope="module")
def derived(study, tmp_path_factory):
    """The tiny training, a twin of it, views of it, and the best subset of both."""
    folder = tmp_path_factory.mktemp("derived")
    (folder / "views.yaml").write_text("{name: views, of: training, cached: 48, side: 32, crops: 2}")
    (folder / "subset.yaml").write_text("{name: subset, members: [training, twin]}")
    training = study.systems["training"]
    rows = {"training": training, "twin": training.model_copy(update={"id": "twin"})}
    for kind in ("views", "subset"):
        rows[kind] = System(
            id=kind, title=kind, kind=kind, recipe=folder / f"{kind}.yaml", seeds=1, baseline="training"
        )
    return Study(rows, folds=study.folds, rates=study.rates[:1])


def test_what_is_derived_takes_the_trained_folds(derived, site_in, tmp_path):
    worker = Worker(derived, site_in(tmp_path), say=lambda _: None)
    names = ("rates", "seed-0/fold-0")
    trained = [f"{system}/{name}" for system in ("training", "twin") for name in names]
    wanted = (*trained, "views/seed-0/fold-0", "subset/seed-0/fold-0")
    assert worker.work(derived.chosen(wanted)) == []
    run = Run(tmp_path / "training/seed-0/fold-0")
    own, seen = run.predictions(), read_predictions(tmp_path / "views/seed-0/fold-0/predictions.csv")
    own = own[own["role"] == "selection"].set_index("image_id").loc[seen["image_id"]]
    assert own["target"].tolist() == seen["target"].tolist()
    columns = [name for name in own if name.startswith("p_")]
    assert not np.allclose(own[columns], seen[columns])
    np.testing.assert_allclose(seen[columns].sum(axis=1), 1, atol=1e-6)
    record = json.loads((tmp_path / "subset/seed-0/fold-0/record.json").read_text())
    assert record["chosen"] == ["training"]  # the twin is the same, and of equals the fewest count
    mean = read_predictions(tmp_path / "subset/seed-0/fold-0/predictions.csv").set_index("image_id")
    np.testing.assert_allclose(mean.loc[own.index, columns], own[columns], atol=1e-6)
