"""A whole training, from a folder of images to a run directory."""

from __future__ import annotations

import json
import math
import resource
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, log_loss, recall_score

from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.models.classifier import build_classifier
from dermlens.runs import Run
from dermlens.training.callbacks import COLUMNS
from dermlens.training.fit import fit, resume_fit
from dermlens.training.machine import _cpu_has_bf16
from dermlens.training.optimisers import backbone_blocks
from dermlens.training.predict import predict_table


def probabilities(frame):
    return frame[[f"p_{code}" for code in CLASSES]].to_numpy()


def scores(frame):
    """The validation numbers of a run, by scikit-learn."""
    p_NC = probabilities(frame)
    predicted = np.array(CLASSES)[p_NC.argmax(1)]
    return {
        "val_loss": log_loss(frame["target"], p_NC, labels=list(CLASSES)),
        "val_accuracy": accuracy_score(frame["target"], predicted),
        "val_mean_recall": recall_score(
            frame["target"], predicted, average="macro", labels=sorted(set(frame["target"]))
        ),
    }


def test_a_run_is_complete(plain, tiny_data, cache):
    record = Run.open(plain.path).read_record().model_dump()
    assert record["status"] == "completed"
    assert record["predicted_roles"] == ["selection", "calibration"]
    assert record["data"] == str(tiny_data)
    history = pd.read_csv(plain.history_file)
    assert tuple(history.columns) == COLUMNS
    assert history["epoch"].tolist() == [0, 1]
    assert np.isfinite(history.to_numpy()).all()

    predictions = pd.read_csv(plain.predictions_file)
    assert set(predictions["role"]) == {"selection", "calibration"}
    np.testing.assert_allclose(probabilities(predictions).sum(1), 1, atol=1e-6)
    table = read_table(tiny_data).set_index("image_id")
    assert (table.loc[predictions["image_id"], "dx"].to_numpy() == predictions["target"].to_numpy()).all()
    # The saved model, loaded anew, gives the same probabilities.
    rows = table.loc[predictions["image_id"]].reset_index()
    again = predict_table(plain.model(), rows, cache_root=cache, device="cpu", batch_size=7)
    np.testing.assert_allclose(probabilities(again), probabilities(predictions), atol=1e-5)


def test_skin_tone_goes_along_and_reaches_no_network(plain, tiny_data, cache):
    table = read_table(tiny_data).head(6)
    toned = table.assign(skin_tone=[0.0, 5.0, np.nan, 3.0, 2.0, 1.0])
    without, with_tone = (
        predict_table(plain.model(), rows, of=read_table(tiny_data), cache_root=cache, device="cpu")
        for rows in (table, toned)
    )
    assert "skin_tone" not in without
    np.testing.assert_array_equal(with_tone["skin_tone"], toned["skin_tone"])
    np.testing.assert_array_equal(probabilities(with_tone), probabilities(without))


@pytest.mark.parametrize(
    ("overrides", "keep"),
    [
        (("train.ema=0.9",), "val_mean_recall"),
        (("train.keep=val_loss", "train.ema=0.9", "train.epochs=3"), "val_loss"),
        (("train.keep=val_accuracy", "train.epochs=3"), "val_accuracy"),
        (("train.keep=last", "train.ema=0.9"), "last"),
    ],
    ids=str,
)
def test_the_kept_weights_are_those_that_were_scored(train, tiny_recipe, overrides, keep):
    """History's numbers come out of predictions.csv: the right epoch, weights and formulas."""
    run = train(tiny_recipe(*overrides))
    history = pd.read_csv(run.history_file)
    if keep == "last":
        kept = len(history) - 1
    else:
        kept = int((history[keep].idxmin if keep == "val_loss" else history[keep].idxmax)())
    assert run.read_record().kept_epoch == kept
    predictions = pd.read_csv(run.predictions_file)
    measured = scores(predictions[predictions["role"] == "selection"])
    assert measured == pytest.approx(history.loc[kept, list(measured)].to_dict(), rel=1e-4)


def test_a_seed_fixes_the_run_to_the_last_bit(train, tiny_recipe):
    first, again, other = (
        train(tiny_recipe(f"seed={seed}", "train.ema=0.9"), name)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first.model_file.read_bytes() == again.model_file.read_bytes()
    assert first.model_file.read_bytes() != other.model_file.read_bytes()
    assert first.predictions_file.read_bytes() == again.predictions_file.read_bytes()


def test_a_frozen_backbone_stays_as_it_began_until_it_is_thawed(train, tiny_recipe):
    """Weights and batch-norm statistics alike; the head moves."""
    recipe = tiny_recipe("train.freeze_epochs=2", "train.keep=last")
    run = train(recipe, "frozen")
    saved = load_file(run.model_file)
    torch.manual_seed(recipe.seed)
    width = run.model().encoder.width
    began = build_classifier(recipe.model, num_classes=7, meta_width=width, size=48).state_dict()
    frozen = [name for name in saved if name.startswith("backbone.")]
    assert len(frozen) > 100
    assert all(torch.equal(saved[name], began[name]) for name in frozen)
    trained = [name for name in saved if name not in frozen and name.endswith("weight")]
    assert trained
    assert not any(torch.equal(saved[name], began[name]) for name in trained)
    thawed = load_file(train(tiny_recipe("train.freeze_epochs=1", "train.keep=last"), "thawed").model_file)
    moved = [name for name in frozen if not torch.equal(saved[name], thawed[name])]
    assert any("running_mean" in name for name in moved)
    assert any("weight" in name for name in moved)


def test_frozen_blocks_stay_frozen_when_the_rest_thaws(train, tiny_recipe):
    """Batch-norm statistics too, which `freeze_epochs` sets going again in what it thaws."""
    recipe = tiny_recipe("train.freeze_epochs=1", "train.frozen_blocks=3", "train.keep=last")
    run = train(recipe)
    saved = load_file(run.model_file)
    torch.manual_seed(recipe.seed)
    width = run.model().encoder.width
    began = build_classifier(recipe.model, num_classes=7, meta_width=width, size=48)
    blocks = tuple(f"{block}." for block in backbone_blocks(began)[:3])
    changed = {
        name
        for name, value in began.state_dict().items()
        if name.startswith("backbone.") and not torch.equal(saved[name], value)
    }
    assert any("running_mean" in name for name in changed)
    assert not [name for name in changed if name.startswith(blocks)]
    assert [name for name in saved if name.startswith(blocks) and "running_mean" in name]


def test_without_a_monitor_the_last_epoch_is_kept(train, tiny_recipe):
    run = train(tiny_recipe("train.monitor_role=none", "train.keep=last"))
    history = pd.read_csv(run.history_file)
    assert history["val_loss"].isna().all()
    assert history["train_loss"].notna().all()
    assert run.read_record().kept_epoch == 1


def test_singletons_choose_and_score_on_the_test_role_and_say_so(train, tiny_recipe):
    run = train(tiny_recipe("split.protocol=singletons", "split.holdout=0.3", "train.monitor_role=test"))
    assert run.read_record().predicted_roles == ["test"]
    assert set(pd.read_csv(run.predictions_file)["role"]) == {"test"}


def test_paper_protocol_warns_of_its_leak(train, tiny_recipe):
    run = train(tiny_recipe("split.protocol=paper", "split.holdout=0.3", "data.metadata=paper"))
    assert any("lesion" in warning for warning in run.read_record().warnings)


def test_weights_count_the_role_that_the_recipe_names(train, plain, tiny_recipe, tiny_data):
    assert plain.recipe.paper.weights_from == "train"
    every = train(tiny_recipe("paper.weights_from=all", "train.epochs=1"))
    weights = {"train": plain.read_record(), "all": every.read_record()}
    everything = read_table(tiny_data)["dx"].value_counts()
    expected = {code: len(read_table(tiny_data)) / (7 * everything[code]) for code in CLASSES}
    assert weights["all"].class_weights == pytest.approx(expected)
    counts = weights["train"].counts["train"]
    expected = {code: sum(counts.values()) / (7 * counts[code]) for code in CLASSES}
    assert weights["train"].class_weights == pytest.approx(expected)


def test_plain_lines_where_nobody_watches(train, tiny_recipe, capfd):
    train(tiny_recipe())
    out, err = capfd.readouterr()
    assert [line.split("  ")[0] for line in out.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert "train loss" in out
    assert "mean recall" in out
    assert err == ""


def test_a_bar_where_somebody_does(train, tiny_recipe, capfd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    train(tiny_recipe())
    out, err = capfd.readouterr()
    assert "8/8" in out + err or "100%" in out + err
    assert "epoch 2/2" in out + err


# What goes wrong.


def test_grouped_test_role_is_never_watched(train, tiny_recipe, tmp_path):
    with pytest.raises(UserError, match=r"monitor_role test.*selection"):
        train(tiny_recipe("train.monitor_role=test"))


def test_a_monitored_role_must_be_there(train, tiny_recipe):
    with pytest.raises(
        UserError,
        match=r"role selection.*train\.monitor_role.*train, test",
    ):
        train(tiny_recipe("split.protocol=singletons", "split.holdout=0.3"))


@pytest.mark.parametrize("watcher", ["keep=val_loss", "schedule.kind=plateau", "early_stopping={}"])
def test_nothing_can_watch_no_role(tiny_recipe, watcher):
    keep = [] if watcher.startswith("keep") else ["train.keep=last"]
    with pytest.raises(UserError, match="measures nothing"):
        tiny_recipe("train.monitor_role=none", *keep, f"train.{watcher}")


def test_a_diverged_run_fails_with_a_sentence(train, tiny_recipe, tmp_path):
    with pytest.raises(UserError, match=r"epoch \d.*nan.*train.optimizer.lr"):
        train(tiny_recipe("train.optimizer.lr=1e30"))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "failed"
    assert "lower train.optimizer.lr" in record["error"]
    with pytest.raises(UserError, match="failed"):
        Run.open(tmp_path / "run")


def test_one_pixel_of_one_image_is_too_few_for_batch_norm(train, tiny_recipe, tmp_path):
    with pytest.raises(UserError, match=r"train\.batch_size 1.*data\.size"):
        train(tiny_recipe("train.batch_size=1", "data.size=32"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def test_a_folder_in_use_is_not_overwritten(train, tiny_recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        train(tiny_recipe())
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_completed_runs_are_not_resumed(half, cache):
    half.record(status="completed")
    with pytest.raises(UserError, match="completed"):
        resume_fit(half.path, cache=cache)


def test_what_is_no_run_is_not_resumed(tmp_path):
    with pytest.raises(UserError, match=r"run\.json"):
        resume_fit(tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"devices": 3}, r"--devices 3 .*train\.batch_size 16 .*18"),
        ({"logger": "wandb"}, "--logger wandb"),
    ],
    ids=str,
)
def test_options_are_refused_before_anything_is_written(train, tiny_recipe, tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        train(tiny_recipe(), **options)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_leaves_the_checkpoint_before(train, plain, tiny_recipe, cache, tmp_path, monkeypatch):
    """A limit on the size of files stands in for a full disk: small files pass, the checkpoint does not."""
    from dermlens.training.checkpoints import AtomicCheckpoints

    whole = AtomicCheckpoints.save_checkpoint
    saved = []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(self, checkpoint, path, storage_options=None):
        if saved:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        whole(self, checkpoint, path, storage_options)
        saved.append(path)

    monkeypatch.setattr(AtomicCheckpoints, "save_checkpoint", save)
    try:
        with pytest.raises(UserError, match=r"last\.ckpt.*--resume"):
            train(tiny_recipe())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run = Run(tmp_path / "run")
    assert run.read_record().status == "failed"
    assert [file.name for file in run.checkpoints.iterdir()] == ["last.ckpt"]
    assert not run.model_file.exists()

    monkeypatch.undo()
    resumed = resume_fit(run.path, cache=cache, device="cpu")
    assert resumed.model_file.read_bytes() == plain.model_file.read_bytes()
    assert resumed.read_record().status == "completed"
    assert resumed.read_record().error is None


def test_a_damaged_checkpoint_is_named(half, cache):
    checkpoint = half.checkpoints / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"last\.ckpt"):
        resume_fit(half.path, cache=cache)


def test_a_checkpoint_runs_no_code(half, cache, tmp_path):
    """What is pickled beyond tensors and plain values is refused, not loaded."""

    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("pwned").write_text, ("code ran",))

    torch.save({"state_dict": Payload()}, half.checkpoints / "last.ckpt")
    with pytest.raises(UserError, match="not a checkpoint"):
        resume_fit(half.path, cache=cache)
    assert not (tmp_path / "pwned").exists()


def test_learning_rates_of_the_history(train, tiny_recipe):
    run = train(tiny_recipe("train.schedule={kind: cosine, warmup_epochs: 1}", "train.epochs=3"))
    rates = pd.read_csv(run.history_file)["lr"].tolist()
    assert rates[0] == pytest.approx(0.002)
    assert rates[0] > rates[1] > rates[2]
    assert math.isclose(rates[2], 1e-7, rel_tol=1e-6)


@pytest.mark.skipif(not _cpu_has_bf16(), reason="this CPU has no bfloat16 arithmetic")
def test_bfloat16_where_the_cpu_has_it(train, plain, tiny_recipe):
    mixed = train(tiny_recipe("train.precision=bf16-mixed"), "mixed")
    losses = [pd.read_csv(run.history_file)["train_loss"] for run in (mixed, plain)]
    assert losses[0].tolist() != losses[1].tolist()
    assert losses[0].tolist() == pytest.approx(losses[1].tolist(), rel=0.1)
    assert load_file(mixed.model_file)["backbone.conv_stem.weight"].dtype == torch.float32


@pytest.mark.realdata
def test_learns_from_real_images(tiny_recipe, cache, ham10000, tmp_path, monkeypatch):
    """Some of them, a few epochs: the loss of what it sees falls, and no role shares a lesion."""
    table = read_table(ham10000)
    lesions = table.drop_duplicates("lesion_id").groupby("dx").head(12)["lesion_id"]
    chosen = table[table["lesion_id"].isin(lesions)]
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for path in chosen["path"]:
        (folder / "images" / Path(path).name).symlink_to(path)
    monkeypatch.setenv("DERMLENS_FOLLOW_LINKS", "1")
    names = {"site": "localization"}
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "site"]
    chosen[columns].rename(columns=names).to_csv(folder / "HAM10000_metadata.csv", index=False)
    recipe = tiny_recipe("data.size=64", "train.epochs=4", "train.optimizer.lr=0.001")
    run = fit(recipe, folder, out=tmp_path / "run", device="cpu", cache=cache)
    losses = pd.read_csv(run.history_file)["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert run.read_record().warnings == []
    assert sum(sum(counts.values()) for counts in run.read_record().counts.values()) == len(chosen)
