"""A cross-fit by source: what trains, what is scored, how it goes on, what is published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dermlens.data.manifest import load_manifest
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.evaluation import transfer
from dermlens.runs import Run
from dermlens.studies import by_source
from dermlens.studies.by_source import (
    RECORD,
    crossfit_by_source,
    left_out_predictions,
    publish_by_source,
)

CLINICS = ("north", "south", "west")


@pytest.fixture(scope="module")
def clinics(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic lesions, dealt to three clinics."""
    folder = tmp_path_factory.mktemp("clinics") / "data"
    folder.mkdir()
    shutil.copytree(data / "images", folder / "images")
    rows = pd.read_csv(data / "HAM10000_metadata.csv")
    number = rows["lesion_id"].astype("category").cat.codes
    rows["dataset"] = [CLINICS[code % 3] for code in number]
    rows.to_csv(folder / "HAM10000_metadata.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def few_lesions_are_enough(monkeypatch):
    monkeypatch.setattr(transfer, "ENOUGH_TO_KEEP", 2)
    for function in (transfer.kept_classes, transfer.lesion_losses):
        monkeypatch.setattr(function, "__defaults__", (2,))


@pytest.fixture(scope="module")
def of_two(recipe):
    return recipe("imbalance.loss={kind: balanced_softmax, prior: source}", "imbalance.weights=none")


@pytest.fixture(scope="module")
def done(of_two, clinics, cache, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done") / "crossfit"
    with pytest.MonkeyPatch.context() as patch:
        for function in (transfer.kept_classes, transfer.lesion_losses):
            patch.setattr(function, "__defaults__", (2,))
        crossfit_by_source(of_two, clinics, out, sources=CLINICS[:2], device="cpu", cache=cache)
    return out


def test_each_source_is_scored_by_a_network_that_saw_none_of_it(done, clinics):
    source = read_table(clinics).set_index("image_id")["source"]
    for name, table in left_out_predictions(done).items():
        roles = load_manifest(str(done / f"without-{name}" / "split.csv")).roles
        trained = set(roles.loc[roles["role"] == "train", "image_id"].map(source))
        assert trained == set(CLINICS) - {name}
        assert set(table["image_id"].map(source)) == {name}
        held = set(source.index[source == name])
        tested = set(roles.loc[roles["role"] == "test", "image_id"])
        assert set(table["image_id"]) == held - tested


def test_scores_and_their_mean_are_those_of_the_predictions(done):
    facts = json.loads((done / RECORD).read_text())
    assert (facts["status"], list(facts["sources"])) == ("completed", ["north", "south"])
    tables = left_out_predictions(done)
    losses = [transfer.equal_prior_mean(transfer.lesion_losses(table)).value for table in tables.values()]
    assert [one["log_loss"]["value"] for one in facts["sources"].values()] == pytest.approx(losses)
    assert facts["log_loss"]["value"] == pytest.approx(sum(losses) / 2)


def test_what_is_there_is_not_trained_again_and_another_recipe_is_refused(
    done, of_two, clinics, cache, recipe
):
    before = (done / "without-north" / "model.safetensors").stat().st_mtime_ns
    again = crossfit_by_source(of_two, clinics, done, sources=CLINICS[:2], device="cpu", cache=cache)
    assert again["status"] == "completed"
    assert (done / "without-north" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="another recipe"):
        crossfit_by_source(recipe(), clinics, done, sources=CLINICS[:2], device="cpu", cache=cache)


def test_one_source_alone_has_scores_and_no_mean(of_two, clinics, cache, tmp_path):
    facts = crossfit_by_source(
        of_two, clinics, tmp_path / "part", sources=CLINICS[:2], only=["south"], device="cpu", cache=cache
    )
    assert facts["status"] == "partial"
    assert list(left_out_predictions(tmp_path / "part")) == ["south"]
    publish_by_source(tmp_path / "part", tmp_path / "published")  # as far as it is there
    published = json.loads((tmp_path / "published" / RECORD).read_text())
    assert published["sources"] == facts["sources"]
    assert list(facts["sources"]) == ["south"]
    assert "log_loss" not in facts


def test_what_is_published_has_no_weights_and_no_paths_and_says_the_same(done, tmp_path):
    publish_by_source(done, tmp_path / "published")
    names = {path.name for path in (tmp_path / "published").rglob("*") if path.is_file()}
    assert names == {"by_source.json", "recipe.yaml", "predictions.csv.gz", "history.csv", "run.json"}
    assert str(done.parent) not in (tmp_path / "published" / "without-north" / "run.json").read_text()
    for source, table in left_out_predictions(tmp_path / "published").items():
        pd.testing.assert_frame_equal(table, left_out_predictions(done)[source])


def test_two_of_them_are_compared_by_the_loss(done, dermlens, tmp_path):
    publish_by_source(done, tmp_path / "copy")
    outcome = dermlens("compare", done, tmp_path / "copy")
    assert outcome.code == 0
    assert "+0.0000 ± 0.0000" in outcome.out
    found = json.loads(dermlens("compare", done, tmp_path / "copy", "--json").out)
    assert found[str(tmp_path / "copy")]["mean"] == {"value": 0.0, "error": 0.0}


def test_a_source_that_is_not_left_out_and_one_that_is_not_there(of_two, clinics, tmp_path, cache):
    with pytest.raises(UserError, match=r"east.*north, south"):
        crossfit_by_source(of_two, clinics, tmp_path / "a", sources=CLINICS[:2], only=["east"], cache=cache)
    with pytest.raises(UserError, match=r"nrth.*nearest: north"):
        crossfit_by_source(of_two, clinics, tmp_path / "b", sources=["nrth"], cache=cache)
    assert not (tmp_path / "b").exists()


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(UserError, match=f"{RECORD}"):
        left_out_predictions(tmp_path)


def test_a_recipe_that_watches_the_left_out_source_is_refused(recipe, clinics, tmp_path):
    with pytest.raises(UserError, match=r"train.early_stopping"):
        crossfit_by_source(recipe("train.early_stopping={}"), clinics, tmp_path / "x", sources=CLINICS)


def test_the_command_shows_each_source(done, clinics, cache, dermlens, of_two, tmp_path):
    of_two.save(tmp_path / "recipe.yaml")
    outcome = dermlens(
        "study",
        "crossfit",
        tmp_path / "recipe.yaml",
        "--by",
        "source",
        "--sources",
        "north,south",
        "--data",
        clinics,
        "--out",
        done,
        "--device",
        "cpu",
        "--cache",
        cache,
    )
    assert outcome.code == 0
    for words in ("north", "south", "AUC mel", "mean over the sources"):
        assert words in outcome.out
    assert Run(done / "without-north").read_record().status == "completed"
    assert by_source.LEFT_OUT == ("rosendahl", "isic2017", "milk10k")
