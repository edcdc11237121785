from __future__ import annotations

import pandas as pd
import pytest

from dermlens.data.manifest import HOME, Split, load_manifest
from dermlens.errors import UserError
from dermlens.studies.folds import check_sealed, fold_recipes, unit_recipe


@pytest.fixture(scope="module")
def manifest():
    return load_manifest(HOME)


def as_table(split, dx="nv"):
    """The manifest's images as a table; its hash is not HAM10000's."""
    return split.roles[["image_id", "lesion_id"]].assign(dx=dx, age=50.0, sex="male", site="back")


def test_the_committed_test_role_passes(manifest):
    check_sealed(as_table(manifest), manifest)


def test_one_sealed_image_in_a_fold_is_refused(manifest):
    roles = manifest.roles.copy()
    roles.loc[roles["image_id"] == manifest.ids("test")[0], "role"] = "fold-0"
    with pytest.raises(UserError, match=r"grouped-v1.*1 of 1499"):
        check_sealed(as_table(manifest), Split(roles, manifest.header))


def test_other_images_are_nobodys_business(manifest):
    roles = pd.DataFrame({"image_id": ["a", "b"], "lesion_id": ["1", "2"], "role": ["fold-0", "test"]})
    split = Split(roles, {})
    check_sealed(as_table(split), split)


def test_the_whole_table_of_the_manifest_needs_exactly_its_test_role(manifest, monkeypatch):
    """A larger test role would leave images out of the study without a word."""
    sha256 = manifest.header["table-sha256"]
    monkeypatch.setattr("dermlens.studies.folds.table_sha256", lambda table: sha256)
    check_sealed(as_table(manifest), manifest)
    roles = manifest.roles.copy()
    roles.loc[roles["image_id"] == manifest.ids("train")[0], "role"] = "test"
    with pytest.raises(UserError, match="grouped-v1"):
        check_sealed(as_table(manifest), Split(roles, manifest.header))


def test_fold_recipes_differ_in_the_fold_alone(recipe):
    recipes = fold_recipes(recipe(), 4)
    assert [one.split.fold for one in recipes] == [0, 1, 2, 3]
    same = {one.model_copy(update={"split": recipes[0].split}).dump() for one in recipes}
    assert len(same) == 1
    changed = recipes[0].model_copy(update={"split": recipe().split, "train": recipe().train})
    assert changed == recipe()


def test_a_fold_that_peeks_chooses_its_epoch_on_what_is_scored(recipe):
    peeking, settled = fold_recipes(recipe(), 2, peeks=True)[0].train, fold_recipes(recipe(), 2)[0].train
    assert (peeking.keep, peeking.monitor_role) == ("val_accuracy", "selection")
    assert (settled.keep, settled.monitor_role) == ("last", "none")


def test_each_fold_may_have_files_of_its_own(recipe):
    staged = recipe(
        "model.weights=first/fold-{fold}/model.safetensors",
        "train.distillation={soft_labels: 'soft-{fold}.csv'}",
    )
    made = fold_recipes(staged, 3)
    assert [one.model.weights for one in made] == [f"first/fold-{k}/model.safetensors" for k in range(3)]
    assert [one.train.distillation.soft_labels for one in made] == [f"soft-{k}.csv" for k in range(3)]
    assert unit_recipe(staged, "split.left_out=rosendahl").model.weights == staged.model.weights
