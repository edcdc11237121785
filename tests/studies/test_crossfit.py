from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from sklearn import metrics

from dermlens.data.predictions import arrays, read_predictions
from dermlens.data.split import make_split
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.recipe import load_recipe
from dermlens.runs import Run
from dermlens.studies.crossfit import crossfit, crossfit_pairs
from dermlens.studies.ensemble import labels_within, soft_labels, training_labels
from dermlens.studies.folders import publish
from dermlens.studies.folds import read_out_of_fold


@pytest.fixture
def record(whole):
    return json.loads((whole / "crossfit.json").read_text())


@pytest.fixture
def merged(whole):
    return read_out_of_fold(whole / "predictions.csv")


def test_every_image_but_those_of_test_is_scored_once(whole, merged, data, recipe):
    table = read_configured(data, recipe().data)
    test = make_split(table, recipe().split).ids("test")
    assert len(test) > 5
    assert sorted([*merged["image_id"], *test]) == sorted(table["image_id"])
    truth = table.set_index("image_id")["dx"]
    assert (merged.set_index("image_id")["target"] == truth[merged["image_id"]]).all()


def test_no_lesion_is_in_two_folds(merged):
    assert sorted(merged["fold"].unique()) == [0, 1, 2]
    assert len(merged[["lesion_id", "fold"]].drop_duplicates()) == merged["lesion_id"].nunique()


def test_a_fold_trains_on_what_it_is_not_scored_on(whole, merged):
    for fold in range(3):
        roles = pd.read_csv(whole / f"fold-{fold}" / "split.csv", comment="#").set_index("image_id")["role"]
        scored = merged.loc[merged["fold"] == fold, "image_id"]
        assert set(scored) == set(roles.index[roles == "selection"])
        others = merged.loc[merged["fold"] != fold, "image_id"]
        assert set(others) == set(roles.index[roles == "train"])


def test_a_scored_fold_chooses_nothing(whole):
    for fold in range(3):
        train = load_recipe(str(whole / f"fold-{fold}" / "recipe.yaml")).train
        assert (train.keep, train.monitor_role) == ("last", "none")
        assert pd.read_csv(whole / f"fold-{fold}" / "history.csv")["val_loss"].isna().all()


def test_scores_are_those_of_scikit_learn(record, merged):
    target_N, p_NC = arrays(merged, CLASSES)
    named_N = p_NC.argmax(axis=1)
    scored = record["roles"]["out_of_fold"]
    found = scored["decisions"]["argmax"]
    recalls = metrics.recall_score(target_N, named_N, average=None)
    assert [found["recall"][code]["value"] for code in CLASSES] == pytest.approx(recalls)
    assert found["mean_recall"]["value"] == pytest.approx(metrics.balanced_accuracy_score(target_N, named_N))
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(target_N, named_N))
    p_NC = p_NC / p_NC.sum(axis=1, keepdims=True)
    assert found["log_loss"]["value"] == pytest.approx(metrics.log_loss(target_N, p_NC), rel=1e-5)
    assert found["macro_auc"]["value"] == pytest.approx(
        metrics.roc_auc_score(target_N, p_NC, multi_class="ovr", average="macro")
    )
    assert scored["images"] == len(merged)
    assert scored["support"] == merged["target"].value_counts().reindex(CLASSES).to_dict()
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]


def test_the_record_says_how_it_was_made(record):
    assert record["status"] == "completed"
    assert record["missing"] == []
    assert record["seconds"] == pytest.approx(
        sum(fold["seconds"] for fold in record["folds"].values()), abs=0.2
    )
    assert record["seconds"] > 0
    assert {"command", "git_commit", "machine", "versions", "seed", "table_sha256"} <= set(record)
    assert record["split"]["folds"] == "3"
    assert any("train.keep" in warning for warning in record["warnings"])


def test_in_sittings_and_interrupted_it_ends_the_same(whole, recipe, data, cache, tmp_path, stop_at):
    out, options = tmp_path / "crossfit", {"folds": 3, "device": "cpu", "cache": cache}
    first = crossfit(recipe(), data, out, only=[2], **options)
    assert (first["status"], first["missing"]) == ("partial", ["fold-0", "fold-1"])
    assert "roles" not in first
    assert not (out / "predictions.csv").exists()
    with (
        stop_at(2),
        pytest.raises(KeyboardInterrupt, match=r"fold-1.*same command"),
    ):
        crossfit(recipe(), data, out, **options)
    assert json.loads((out / "fold-1" / "run.json").read_text())["status"] == "interrupted"
    kept = (out / "fold-0" / "run.json").read_bytes()
    facts = crossfit(recipe(), data, out, **options)
    assert (out / "fold-0" / "run.json").read_bytes() == kept
    assert (out / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    for fold in range(3):
        model = f"fold-{fold}/model.safetensors"
        assert (out / model).read_bytes() == (whole / model).read_bytes()
    assert facts["roles"] == json.loads((whole / "crossfit.json").read_text())["roles"]


def test_a_fold_that_was_killed_before_it_was_a_run_begins_anew(whole, recipe, data, cache, tmp_path):
    out = tmp_path / "crossfit"
    (out / "fold-0").mkdir(parents=True)
    recipe().save(out / "recipe.yaml")
    recipe().save(out / "fold-0" / "recipe.yaml")
    crossfit(recipe(), data, out, folds=3, only=[0], device="cpu", cache=cache)
    predictions = "fold-0/predictions.csv"
    assert (out / predictions).read_bytes() == (whole / predictions).read_bytes()


def test_a_student_is_said_to_have_heard_of_the_labels(whole, recipe, data, cache, tmp_path):
    soft = tmp_path / "soft.csv"
    soft_labels([whole], soft)
    student = recipe("train.epochs=1", f"train.distillation={{soft_labels: {soft}}}")
    facts = crossfit(student, data, tmp_path / "student", folds=3, only=[1], device="cpu", cache=cache)
    assert any("flatter the student" in warning for warning in facts["warnings"])
    predictions = read_predictions(tmp_path / "student" / "fold-1" / "predictions.csv")
    assert len(predictions) > 10


def test_a_second_stage_goes_on_fold_by_fold(whole, recipe, data, cache, tmp_path):
    labels = training_labels([whole / "fold-1"], tmp_path / "soft-1.csv", device="cpu", cache=cache)
    split = Run(whole / "fold-1").split()
    assert set(labels["image_id"]) == set(split.ids("train"))
    np.testing.assert_allclose(labels.filter(like="p_").sum(axis=1), 1, atol=1e-6)
    second = recipe(
        "train.epochs=1",
        f"model.weights={whole}/fold-{{fold}}/model.safetensors",
        f"train.distillation={{soft_labels: '{tmp_path}/soft-{{fold}}.csv', weight: 0.5}}",
    )
    facts = crossfit(second, data, tmp_path / "second", folds=3, only=[1], device="cpu", cache=cache)
    run = Run(tmp_path / "second" / "fold-1")
    assert run.recipe.model.weights == f"{whole}/fold-1/model.safetensors"
    assert not any("flatter the student" in warning for warning in facts["warnings"])
    # after one epoch it is nearer to where it began than to another fold's network
    first, other = (load_file(whole / f"fold-{fold}" / "model.safetensors") for fold in (1, 0))
    now = load_file(run.path / "model.safetensors")

    def distance(network):
        weights = [key for key in now if key.startswith("backbone.") and key.endswith("weight")]
        return sum(float((now[key] - network[key]).square().sum()) for key in weights)

    assert distance(first) < distance(other)


def test_labels_of_training_images_are_of_one_set_of_images(whole, cache, tmp_path):
    with pytest.raises(UserError, match="fold-1"):
        training_labels(
            [whole / "fold-0", whole / "fold-1"], tmp_path / "soft.csv", device="cpu", cache=cache
        )
    assert not (tmp_path / "soft.csv").exists()


@pytest.mark.parametrize(
    ("overrides", "options", "sentence"),
    [
        (["train.early_stopping={}"], {}, "train.early_stopping"),
        (["train.schedule={kind: plateau}"], {}, "train.schedule.kind plateau"),
        (["split.protocol=paper"], {}, "split.folds"),
        ([], {"folds": 60}, "60 folds"),
        ([], {"only": [3]}, "fold 3 .*0 to 2"),
    ],
)
def test_what_cannot_be_crossfitted_is_refused(overrides, options, sentence, recipe, data, tmp_path):
    with pytest.raises(UserError, match=sentence):
        crossfit(recipe(*overrides), data, tmp_path / "out", **({"folds": 3} | options))
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_is_rejected_while_training_leaves_nothing_in_the_way(recipe, data, cache, tmp_path):
    """Its network is built in the first fold's training, when the folder is there already."""
    mistake = recipe("data.metadata=none", "model.metadata=paper")
    with pytest.raises(UserError, match=r"model\.metadata paper"):
        crossfit(mistake, data, tmp_path / "out", folds=3, device="cpu", cache=cache)
    assert not (tmp_path / "out").exists()


def test_another_folders_contents_are_left_alone(whole, recipe, data, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty"):
        crossfit(recipe(), data, tmp_path, folds=3)
    with pytest.raises(UserError, match="another recipe"):
        crossfit(recipe("seed=1"), data, whole, folds=3)
    with pytest.raises(UserError, match="number of folds"):
        crossfit(recipe(), data, whole, folds=2)


def test_what_is_refused_leaves_the_record_as_it_was(whole, recipe, data, tmp_path):
    before = (whole / "crossfit.json").read_bytes()
    others = write_synthetic(tmp_path / "others", lesions=70, seed=4, size=(48, 64))
    with pytest.raises(UserError, match="another table"):
        crossfit(recipe(), others, whole, folds=3)
    with pytest.raises(UserError, match="number of folds"):
        crossfit(recipe(), data, whole, folds=2)
    assert (whole / "crossfit.json").read_bytes() == before


def test_predictions_that_are_not_of_the_fold_are_refused(whole, recipe, data, tmp_path):
    import shutil

    out = shutil.copytree(whole, tmp_path / "copy")
    file = out / "fold-1" / "predictions.csv"
    table = read_predictions(file)
    table[1:].to_csv(file, index=False)
    with pytest.raises(UserError, match=rf"fold-1/predictions.csv.*{len(table)} images"):
        crossfit(recipe(), data, out, folds=3)


def test_probabilities_keep_their_digits(whole, merged):
    of_fold = read_predictions(whole / "fold-2" / "predictions.csv").set_index("image_id")
    there = merged[merged["fold"] == 2].set_index("image_id")
    columns = [f"p_{code}" for code in CLASSES]
    np.testing.assert_array_equal(there[columns], of_fold.loc[there.index, columns])


@pytest.fixture(scope="module")
def pairs(recipe, data, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("pairs") / "pairs"
    options = {"folds": 3, "device": "cpu", "cache": cache}
    short = recipe("train.epochs=1")
    assert crossfit_pairs(short, data, out, only=["0-1"], **options)["missing"] == ["folds-0-2", "folds-1-2"]
    with pytest.raises(UserError, match="folds-0-2"):
        labels_within([out], 0, out.parent / "early.csv")
    return out, crossfit_pairs(short, data, out, **options)


def test_labels_within_a_fold_are_of_networks_that_saw_neither_it_nor_the_image(pairs, merged, tmp_path):
    out, facts = pairs
    assert (facts["status"], "roles" in facts) == ("completed", False)
    labels = labels_within([out], 1, tmp_path / "soft.csv").set_index("image_id")
    fold = merged.set_index("image_id")["fold"]
    assert set(labels.index) == set(fold.index[fold != 1])
    for other, name in ((0, "folds-0-1"), (2, "folds-1-2")):
        run = Run(out / name)
        trained = set(run.split().ids("train"))
        assert trained == set(fold.index[~fold.isin([1, other])])
        theirs = run.predictions().set_index("image_id").loc[fold.index[fold == other], labels.columns]
        np.testing.assert_allclose(labels.loc[theirs.index], theirs, atol=1e-8)


def test_published_pairs_give_the_same_labels(pairs, tmp_path):
    out, _ = pairs
    publish(out, tmp_path / "published")
    ours, theirs = (
        labels_within([folder], 0, tmp_path / "soft.csv") for folder in (out, tmp_path / "published")
    )
    pd.testing.assert_frame_equal(ours, theirs)
    files = [path for path in (tmp_path / "published").rglob("*") if path.is_file()]
    assert not any(path.suffix == ".safetensors" for path in files)
    assert not any(str(out.parent) in path.read_text("utf-8") for path in files if path.suffix == ".json")


def test_no_labels_within_a_fold_without_its_pairs(pairs, whole, tmp_path):
    for folder, fold in ((whole, 0), (pairs[0], 3), (tmp_path, 0)):
        with pytest.raises(UserError):
            labels_within([folder], fold, tmp_path / "soft.csv")
    assert not (tmp_path / "soft.csv").exists()


@pytest.mark.parametrize(("folds", "only"), [(3, ["1-0"]), (3, ["0"]), (2, None)])
def test_pairs_that_are_none(recipe, data, tmp_path, folds, only):
    with pytest.raises(UserError):
        crossfit_pairs(recipe(), data, tmp_path / "pairs", folds=folds, only=only)
    assert not (tmp_path / "pairs").exists()
