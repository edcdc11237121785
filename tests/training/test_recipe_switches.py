"""What the switches of a recipe do to a whole training, one after the other."""

from __future__ import annotations

import ctypes
import json
import platform
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.training import train as training
from dermlens.training.fit import fit
from dermlens.training.inputs import EpochBatches, read_inputs, read_role_plan, resized
from dermlens.training.machine import keep_memory
from dermlens.training.task import LesionTask


@pytest.fixture
def weights_of(train):
    """The trained weights of a recipe."""
    return lambda recipe, name: load_file(train(recipe, name).path / "model.safetensors")


@pytest.fixture(scope="module")
def one_epoch(tiny_data, tiny_recipe, cache, tmp_path_factory):
    """The plain recipe after one epoch; tests read the run and write nothing."""
    out = tmp_path_factory.mktemp("one") / "run"
    return fit(tiny_recipe("train.epochs=1"), tiny_data, out=out, device="cpu", cache=cache)


HEAD = "head.linear.weight"


@pytest.mark.parametrize(
    "overrides",
    [
        ("imbalance.exponent=0.5",),
        ("imbalance.weights=effective_number", "imbalance.beta=0.99"),
        ("imbalance.confirmation={histo: 2.0}",),
        ("imbalance.sampler={kind: power, exponent: 0.5}",),
        ("imbalance.sampler={kind: lesions, caps: {nv: 5}, repeats: {df: 2}}",),
        ("imbalance.loss={kind: cross_entropy, smoothing: 0.1}",),
        ("imbalance.loss={kind: focal}",),
        ("imbalance.loss={kind: ldam}",),
        ("imbalance.loss={kind: logit_adjusted, tau: 0.5}",),
        ("imbalance.loss={kind: balanced_softmax}",),
        ("augment.colour={brightness: 0.2, illuminant: 0.1}",),
        ("augment.cutout={side: 0.3}",),
        ("augment.policy={kind: trivial}",),
        ("augment.mix={kind: mixup}",),
        ("augment.mix={kind: cutmix, alpha: 1.0}",),
        ("augment.metadata_dropout={all: 0.3, each: 0.2}",),
        ("train.optimizer.layer_decay=0.8",),
        ("train.frozen_blocks=2",),
    ],
    ids=str,
)
def test_each_switch_changes_what_is_learnt(weights_of, one_epoch, tiny_recipe, overrides):
    switched = weights_of(tiny_recipe("train.epochs=1", *overrides), "switched")
    assert not torch.equal(switched[HEAD], load_file(one_epoch.model_file)[HEAD])


@pytest.mark.parametrize("override", ["imbalance.deferred_epochs=1", "train.resize=[{until: 1, size: 32}]"])
def test_each_switch_of_an_epoch_changes_what_is_learnt(weights_of, plain, tiny_recipe, override):
    switched = weights_of(tiny_recipe(override), "switched")
    assert not torch.equal(switched[HEAD], load_file(plain.model_file)[HEAD])


@pytest.mark.parametrize(
    "overrides",
    [
        (
            "imbalance.sampler={kind: power, exponent: 0.5}",
            "augment.colour={brightness: 0.2, illuminant: 0.1}",
            "augment.cutout={side: 0.3}",
            "augment.mix={kind: mixup}",
        ),
        (
            "imbalance.sampler={kind: lesions, caps: {nv: 5}, repeats: {df: 2}}",
            "augment.policy={kind: trivial}",
            "augment.metadata_dropout={all: 0.3, each: 0.2}",
            "augment.mix={kind: cutmix, alpha: 1.0}",
        ),
    ],
    ids=["power", "lesions"],
)
def test_whatever_draws_draws_the_same_again(weights_of, tiny_recipe, overrides):
    """All that is random, in two recipes: nothing but the seed decides."""
    once, twice = (weights_of(tiny_recipe("train.epochs=1", *overrides), f"run-{i}") for i in (0, 1))
    assert all(torch.equal(once[key], twice[key]) for key in once)


def test_frozen_blocks_stay_to_the_last_bit(weights_of, tiny_recipe):
    """Weights and statistics of batch norms: the same after one epoch and after two; the rest moves."""
    short, long = (
        weights_of(tiny_recipe("train.frozen_blocks=3", "train.keep=last", f"train.epochs={n}"), f"run-{n}")
        for n in (1, 2)
    )
    frozen = ("backbone.conv_stem.", "backbone.bn1.", "backbone.blocks.0.")
    for key in short:
        if key.startswith(frozen):
            assert torch.equal(short[key], long[key]), key
    assert not torch.equal(
        short["backbone.blocks.1.0.conv_pw.weight"], long["backbone.blocks.1.0.conv_pw.weight"]
    )
    assert not torch.equal(
        short["backbone.blocks.1.0.bn1.running_mean"], long["backbone.blocks.1.0.bn1.running_mean"]
    )


def test_one_block_must_learn(train, tiny_recipe):
    with pytest.raises(UserError, match=r"train.frozen_blocks 9.*8 blocks.*blocks.5"):
        train(tiny_recipe("train.frozen_blocks=9"))


def test_sizes_must_be_in_order(tiny_recipe):
    with pytest.raises(UserError, match="until"):
        tiny_recipe("train.resize=[{until: 2, size: 32}, {until: 1, size: 48}]")
    with pytest.raises(UserError, match="epochs 2"):
        tiny_recipe("train.resize=[{until: 3, size: 32}]")


def test_epochs_have_their_sizes(train, tiny_recipe, monkeypatch):
    seen = []
    step = LesionTask.training_step

    def watched(self, batch, batch_idx):
        seen.append((self.current_epoch, tuple(batch["image"].shape[2:])))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LesionTask, "training_step", watched)
    train(tiny_recipe("train.epochs=3", "train.resize=[{until: 1, size: 32}, {until: 2, size: 40}]"))
    assert sorted(set(seen)) == [(0, (32, 32)), (1, (40, 40)), (2, (48, 48))]


def test_resized_images_keep_their_means():
    x_BCHW = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    small = resized(x_BCHW, 24)
    assert small.dtype == torch.uint8
    torch.testing.assert_close(small.float().mean((2, 3)), x_BCHW.float().mean((2, 3)), atol=1.0, rtol=0)
    assert resized(x_BCHW, 48) is x_BCHW


def test_mixed_images_have_the_loss_of_both_labels(tiny_recipe, tiny_data, cache):
    """λ·L(y) + (1 − λ)·L(y of the partner), which for cross-entropy is that of the mixed label."""
    recipe = tiny_recipe("imbalance.weights=none")
    inputs = read_inputs(recipe, read_role_plan(recipe, tiny_data), cache_root=cache)
    task = training.make_task(recipe, inputs, np.ones(7))
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    source = torch.zeros(3, dtype=torch.int64)
    target, partner, share = torch.tensor([0, 4, 5]), torch.tensor([1, 2, 0]), torch.tensor([1.0, 0.25, 0.6])
    ours = task._loss_of_images(
        logits, {"target": target, "source": source, "partner": partner, "share": share}
    )
    hot = torch.nn.functional.one_hot(target, 7).float()
    mixed = share[:, None] * hot + (1 - share[:, None]) * hot[partner]
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(logits, mixed, reduction="none"))


def test_in_a_mixed_image_each_label_has_the_weight_of_its_own_image(tiny_recipe, tiny_data, cache):
    recipe = tiny_recipe("imbalance.weights=none")
    inputs = read_inputs(recipe, read_role_plan(recipe, tiny_data), cache_root=cache)
    task = training.make_task(recipe, inputs, np.ones(7))
    logits = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    batch = {
        "target": torch.tensor([0, 4]),
        "source": torch.tensor([0, 0]),
        "partner": torch.tensor([1, 0]),
        "share": torch.tensor([0.3, 0.3]),
        "weight": torch.tensor([1.0, 0.1]),
    }
    log_p = logits.log_softmax(1)
    expected = [
        -0.3 * 1.0 * log_p[0, 0] - 0.7 * 0.1 * log_p[0, 4],
        -0.3 * 0.1 * log_p[1, 4] - 0.7 * 1.0 * log_p[1, 0],
    ]
    torch.testing.assert_close(task._loss_of_images(logits, batch), torch.stack(expected))


def test_confirmation_weighs_images(tiny_recipe, tiny_data, cache):
    recipe = tiny_recipe("imbalance.confirmation={histo: 2.0}")
    inputs = read_inputs(recipe, read_role_plan(recipe, tiny_data), cache_root=cache)
    expected = np.where(read_table(tiny_data)["dx_type"] == "histo", 2.0, 1.0)
    np.testing.assert_array_equal(inputs.weight_N, expected)


def test_way_of_confirmation_that_is_not_there_is_named(train, tiny_recipe):
    with pytest.raises(UserError, match=r"imbalance.confirmation.*histology.*histo"):
        train(tiny_recipe("imbalance.confirmation={histology: 2.0}"))


@pytest.fixture
def soft_labels(tiny_data, tmp_path):
    """A teacher that knows everything is a nevus."""
    frame = read_table(tiny_data)[["image_id"]].copy()
    for code in CLASSES:
        frame[f"p_{code}"] = 0.94 if code == "nv" else 0.01
    frame.to_csv(tmp_path / "soft.csv", index=False)
    return tmp_path / "soft.csv"


def test_student_believes_its_teacher(train, tiny_recipe, soft_labels):
    """With all the weight on a teacher that always says nevus, the student says so as well."""
    recipe = tiny_recipe(
        f"train.distillation={{soft_labels: {soft_labels}, weight: 1.0}}",
        "train.epochs=8",
        "imbalance.weights=none",
    )
    predictions = pd.read_csv(train(recipe).predictions_file)
    assert predictions["p_nv"].mean() > 0.7


def test_images_without_soft_labels_learn_from_their_own(tiny_recipe, soft_labels, tiny_data, cache):
    """Half of the file gone: those images have the loss alone."""
    half = pd.read_csv(soft_labels).iloc[::2]
    half.to_csv(soft_labels, index=False)
    recipe = tiny_recipe(f"train.distillation={{soft_labels: {soft_labels}, weight: 0.5}}")
    inputs = read_inputs(recipe, read_role_plan(recipe, tiny_data), cache_root=cache)
    task = training.make_task(recipe, inputs, np.ones(7))
    logits = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    batch = {"target": torch.tensor([1, 2]), "source": torch.tensor([0, 0]), "soft": inputs.soft_NC[:2]}
    monitored = torch.nn.functional.cross_entropy(logits, batch["target"], reduction="none")
    taught, alone = task._loss_of_images(logits, batch)
    torch.testing.assert_close(alone, monitored[1])
    assert not torch.isclose(taught, monitored[0])


def test_further_images_train_and_play_no_other_role(tiny_recipe, tiny_data, cache, tmp_path):
    """Their ids are in no manifest and no prediction, and run.json counts them."""
    home = tmp_path / "home"
    shutil.copytree(tiny_data, home / "data")
    write_synthetic(home / "more", lesions=30, seed=5, size=(48, 64))
    recipe = tiny_recipe("data.also_train=[more]")
    inputs = read_inputs(recipe, read_role_plan(recipe, home / "data"), cache_root=cache)
    more = set(read_table(home / "more")["image_id"])
    trained = set(inputs.table["image_id"].iloc[inputs.rows("train")])
    assert more < trained
    for role in ("selection", "calibration", "test"):
        assert not more & set(inputs.table["image_id"].iloc[inputs.rows(role)])
    run = fit(recipe, home / "data", out=tmp_path / "run", device="cpu", cache=cache)
    record = json.loads(run.record_file.read_text())
    assert record["also_train"] == {"images": len(more), "folders": ["more"]}
    assert not more & set(pd.read_csv(run.predictions_file)["image_id"])
    assert not more & set(pd.read_csv(run.split_file, comment="#")["image_id"])


def test_further_folder_that_is_not_there_is_named(train, tiny_recipe):
    with pytest.raises(UserError, match=r"data.also_train.*nowhere"):
        train(tiny_recipe("data.also_train=[nowhere]"))


def test_the_same_images_twice_are_refused(tiny_recipe, tiny_data, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(tiny_data, home / "data")
    shutil.copytree(tiny_data, home / "again")
    with pytest.raises(UserError, match=r"data.also_train.*image"):
        read_role_plan(tiny_recipe("data.also_train=[again]"), home / "data")


def test_an_image_file_of_the_test_role_cannot_be_trained_on_under_another_name(
    tiny_recipe, tiny_data, tmp_path
):
    home = tmp_path / "home"
    shutil.copytree(tiny_data, home / "data")
    recipe = tiny_recipe("data.also_train=[more]")
    images = read_role_plan(tiny_recipe(), home / "data")
    held = images.table.set_index("image_id").loc[images.split.ids("test")[0]]
    (home / "more" / "images").mkdir(parents=True)
    shutil.copy(held["path"], home / "more" / "images" / "other.jpg")
    (home / "more" / "metadata.csv").write_text(f"image_id,dx\nother,{held['dx']}\n")
    with pytest.raises(UserError, match="image file"):
        read_role_plan(recipe, home / "data")


def test_sampled_epochs_reach_the_batches(tiny_recipe, tiny_data, cache):
    recipe = tiny_recipe("imbalance.sampler={kind: lesions, caps: {nv: 3}}")
    inputs = read_inputs(recipe, read_role_plan(recipe, tiny_data), cache_root=cache)
    batches = EpochBatches(inputs, recipe, world=1)

    class At:
        current_epoch, global_rank = 4, 0

    batches.trainer = At()
    seen = torch.cat([batch["row"] for batch in batches.train_dataloader()]).tolist()
    assert sorted(seen) == sorted(inputs.sampled(recipe, 4).tolist())
    nevi = [row for row in seen if inputs.table["dx"].iloc[row] == "nv"]
    assert len(nevi) == 3


def test_memory_is_kept_where_glibc_is():
    """A network still trains afterwards: every other test here."""
    assert keep_memory() == (sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc")


def test_memory_is_not_kept_elsewhere(monkeypatch):
    with monkeypatch.context() as musl:
        musl.setattr(sys, "platform", "linux")
        musl.setattr(ctypes, "CDLL", lambda name: object())
        assert not keep_memory()
    with monkeypatch.context() as windows:
        windows.setattr(sys, "platform", "win32")
        assert not keep_memory()
