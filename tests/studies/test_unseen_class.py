from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dermlens.calibration import decision
from dermlens.data.split import resolve_split
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.runs import Run
from dermlens.studies import folds
from dermlens.studies import out_of_distribution as module
from dermlens.studies.out_of_distribution import unseen_class

ROLES = ("split.selection=0.25", "split.calibration=0.25", "train.epochs=1", "imbalance.weights=none")


@pytest.fixture(scope="module")
def small(recipe):
    return recipe(*ROLES)


@pytest.fixture(scope="module")
def without_mel(small, data, cache, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("near") / "near"
    unseen_class(small, data, out, classes=["mel"], device="cpu", cache=cache)
    return out


def test_a_class_left_out_is_out_of_distribution(without_mel: Path):
    found = pd.read_csv(without_mel / "near_ood.csv")
    assert list(found["score"]) == ["energy", "mahalanobis", "knn"]
    assert set(found["set"]) == {"mel"}
    assert found["auroc"].between(0, 1).all()
    inner = Run(without_mel / "without-mel")
    saved = inner.model()
    assert "mel" not in saved.classes
    assert len(saved.classes) == 6
    assert "mel" not in set(inner.predictions()["target"])


def test_another_class_joins_the_table_and_what_is_there_is_not_trained_again(
    without_mel: Path, small, recipe, data, cache
):
    record = without_mel / "without-mel" / "run.json"
    written = record.stat().st_mtime_ns
    found = unseen_class(small, data, without_mel, classes=["nv"], device="cpu", cache=cache)
    assert sorted(set(found["set"])) == ["mel", "nv"]
    pd.testing.assert_frame_equal(pd.read_csv(without_mel / "near_ood.csv"), found, rtol=1e-5)
    assert record.stat().st_mtime_ns == written
    other = recipe(*ROLES, "train.optimizer.lr=0.01")
    manifests = {path: path.stat().st_mtime_ns for path in without_mel.glob("*.csv")}
    for code in ("mel", "bcc"):  # bcc is new, and would stand beside rows of another recipe
        with pytest.raises(UserError, match=r"without-mel.*recipe"):
            unseen_class(other, data, without_mel, classes=[code], device="cpu", cache=cache)
    assert {path: path.stat().st_mtime_ns for path in without_mel.glob("*.csv")} == manifests
    moved = without_mel / "data-without-mel" / "images"
    moved.unlink()
    moved.symlink_to(without_mel)
    unseen_class(small, data, without_mel, classes=["mel"], device="cpu", cache=cache)
    assert moved.resolve() == data.resolve()


def test_a_recipe_that_names_the_class_loses_its_numbers(recipe, data, cache, tmp_path):
    sampler = "imbalance.sampler={kind: lesions, caps: {nv: 20}, repeats: {mel: 2, df: 3}}"
    named = recipe(*ROLES[:3], sampler, "imbalance.weights={mel: 5, nv: 1}")
    unseen_class(named, data, tmp_path, classes=["mel"], device="cpu", cache=cache)
    trained = Run(tmp_path / "without-mel").recipe.imbalance
    assert trained.weights == {"nv": 1}
    assert trained.sampler.repeats == {"df": 3}
    assert trained.sampler.caps == {"nv": 20}


def test_what_knows_the_class_besides_the_table_is_refused(recipe, data, tmp_path):
    for setting in (
        f"data.also_train=[{data}]",
        "train.distillation={soft_labels: soft.csv, weight: 0.5}",
    ):
        with pytest.raises(UserError, match="left out"):
            unseen_class(recipe(*ROLES, setting), data, tmp_path)
    with pytest.raises(UserError, match=r"mela.*nearest: mel"):
        unseen_class(recipe(*ROLES), data, tmp_path, classes=["mela"])
    assert not list(tmp_path.iterdir())


def test_no_image_of_the_test_role_is_looked_at(small, data, cache, tmp_path, monkeypatch):
    """Neither as familiar nor as out-of-distribution."""
    seen: set[str] = set()

    def watch(saved, table, **options):
        seen.update(table["image_id"])
        return label(saved, table, **options)

    label = decision.label_outputs
    monkeypatch.setattr(decision, "label_outputs", watch)
    monkeypatch.setattr(module, "label_outputs", watch)
    unseen_class(small, data, tmp_path / "near", classes=["nv"], device="cpu", cache=cache)
    split = resolve_split(read_table(data), small.split)
    assert seen
    assert not seen & set(split.ids("test"))


def test_the_sealed_test_role_is_looked_at_by_nothing(small, recipe, data, tmp_path, monkeypatch):
    sealed = resolve_split(read_table(data), small.split)
    monkeypatch.setattr(folds, "load_manifest", lambda name: sealed)
    with pytest.raises(UserError, match="test images"):
        unseen_class(recipe(*ROLES, "split.manifest=null", "split.seed=1"), data, tmp_path / "near")
    assert not (tmp_path / "near").exists()


def test_rows_of_another_split_do_not_mix(without_mel: Path, small, recipe, data, tmp_path):
    """The recipes of two manifests are the same without a class, which has a manifest of its own."""
    table = read_table(data)
    resolve_split(table, recipe(*ROLES, "split.seed=1").split).save(tmp_path / "other.csv")
    other = small.model_copy(
        update={"split": small.split.model_copy(update={"manifest": str(tmp_path / "other.csv")})}
    )
    before = {path: path.read_bytes() for path in without_mel.glob("*.csv")}
    for code in ("mel", "bcc"):
        with pytest.raises(UserError, match=r"without-mel.*split"):
            unseen_class(other, data, without_mel, classes=[code], device="cpu")
    assert {path: path.read_bytes() for path in without_mel.glob("*.csv")} == before


def test_rows_whose_run_is_gone_do_not_mix(without_mel: Path, small, data, tmp_path):
    known = pd.read_csv(without_mel / "near_ood.csv")
    known[known["set"] == "mel"].to_csv(tmp_path / "near_ood.csv", index=False)
    with pytest.raises(UserError, match=r"mel.*without-mel"):
        unseen_class(small, data, tmp_path, classes=["bcc"], device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["near_ood.csv"]
