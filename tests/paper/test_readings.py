"""What is read of a trained arm: given everything it answers the same; metadata alone learn what is there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermlens.data.split import shuffled_metadata
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.runs import Run
from dermlens.studies.crossfit import train_folds
from dermlens.studies.folds import read_out_of_fold
from dermlens.training.predict import predict_table
from paper.attention_mass import attention_mass
from paper.readings import OTHER_METADATA, READINGS, metadata_alone, probabilities, with_other_metadata

P = [f"p_{code}" for code in CLASSES]


@pytest.fixture(scope="module")
def arm(recipe, data, cache, tmp_path_factory):
    """A cross-fit of two folds; tests read it and write nothing."""
    out = tmp_path_factory.mktemp("arm") / "base"
    train_folds(recipe("paper.placebo=uniform"), data, out, folds=2, device="cpu", cache=cache)
    return out


def test_given_everything_it_says_what_it_said(arm, data, cache):
    ways = {"given_all": lambda table: table, "given_nothing": OTHER_METADATA["given_nothing"]}
    found = with_other_metadata(arm, data, device="cpu", cache=cache, ways=ways)
    own = read_out_of_fold(arm / "predictions.csv")
    assert found["given_all"]["image_id"].tolist() == own["image_id"].tolist()
    np.testing.assert_allclose(found["given_all"][P], own[P], atol=1e-6)
    assert np.abs(found["given_nothing"][P].to_numpy() - own[P].to_numpy()).max() > 1e-3


@pytest.mark.parametrize("name", OTHER_METADATA)
def test_what_is_withheld_or_exchanged_is_what_the_name_says(name, data, recipe):
    table = read_configured(data, recipe().data)
    changed = OTHER_METADATA[name](table)
    words = name.removeprefix("given_").split("_")
    fields = {"age", "sex", "site"}
    touched = fields - set(words) if words[-1] == "only" else set(words) & fields or fields
    for field in ("age", "sex", "site"):
        same = changed[field].equals(table[field])
        assert same is (field not in touched), field
    if words[-1] != "wrong":
        unknown = {
            "age": changed["age"].isna(),
            "sex": changed["sex"] == "unknown",
            "site": changed["site"] == "unknown",
        }
        assert all(unknown[field].all() for field in touched)


def test_metadata_alone_are_scored_on_the_arms_folds(arm, data):
    found = metadata_alone(arm, data)
    own = read_out_of_fold(arm / "predictions.csv")
    pd.testing.assert_frame_equal(found[["image_id", "target", "fold"]], own[["image_id", "target", "fold"]])
    np.testing.assert_allclose(found[P].sum(axis=1), 1)


def test_metadata_alone_learn_what_is_planted_and_weigh_classes_alike():
    """Men over 50 have mel, the face is bcc, the rest is nv; ages and sites may be missing."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "age": np.where(rng.random(900) < 0.1, np.nan, rng.integers(20, 80, 900)),
        "sex": rng.choice(["female", "male", "unknown"], 900),
        "site": rng.choice(["back", "face", "unknown"], 900, p=[0.8, 0.1, 0.1]),
    })  # fmt: skip
    is_mel = (table["sex"] == "male") & (table["age"] > 50)
    table["dx"] = np.where(table["site"] == "face", "bcc", np.where(is_mel, "mel", "nv"))
    p_NC = probabilities(table[:600], table[600:], CLASSES)
    named = np.array(CLASSES)[p_NC.argmax(axis=1)]
    assert (named == table["dx"][600:]).mean() > 0.97
    assert (p_NC[:, [CLASSES.index(code) for code in ("df", "vasc")]] == 0).all()
    np.testing.assert_allclose(p_NC.sum(axis=1), 1)
    noise = table.assign(dx=rng.choice(["nv", "mel"], 900, p=[0.9, 0.1]))
    named = np.array(CLASSES)[probabilities(noise[:600], noise[600:], CLASSES).argmax(axis=1)]
    assert 0.2 < (named == "mel").mean() < 0.8  # of nothing to learn, each class is named about as often


def test_an_even_map_has_as_much_inside_as_the_mask_has_area(arm, data, cache):
    table = read_configured(data, Run(arm / "fold-0").recipe.data)
    if table["mask"].isna().all():
        with pytest.raises(UserError, match="lesion masks"):
            attention_mass(arm, data, device="cpu", cache=cache)
        return
    found = attention_mass(arm, data, device="cpu", cache=cache)
    np.testing.assert_allclose(found["attention_mass"], found["mask_share"], rtol=1e-5)
    assert found["image_id"].is_unique


def test_an_arm_without_attention_or_without_folds_is_refused(whole, data, cache, tmp_path):
    with pytest.raises(UserError, match="not trained"):
        with_other_metadata(tmp_path, data)
    assert READINGS["given"].arm == "base"


def test_a_network_of_shuffled_metadata_is_told_them_where_its_run_predicts(recipe, data, cache, tmp_path):
    shuffled = recipe("paper.metadata_shuffled=true")
    train_folds(shuffled, data, tmp_path / "arm", folds=2, only=[0], device="cpu", cache=cache)
    run = Run(tmp_path / "arm" / "fold-0")
    table = read_configured(data, shuffled.data)
    own = pd.read_csv(run.predictions_file)
    own = own[own["role"] == "selection"].set_index("image_id")
    given_so = shuffled_metadata(table, shuffled.seed)
    rows = given_so[given_so["image_id"].isin(own.index)]
    again = predict_table(run.model(), rows, of=table, device="cpu", cache_root=cache).set_index("image_id")
    np.testing.assert_allclose(again.loc[own.index, P], own[P], atol=1e-6)
    plain = predict_table(
        run.model(),
        table[table["image_id"].isin(own.index)],
        of=table,
        device="cpu",
        cache_root=cache,
    )
    assert np.abs(plain.set_index("image_id").loc[own.index, P] - own[P]).to_numpy().max() > 1e-4
