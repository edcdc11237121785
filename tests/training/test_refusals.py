"""What is neither begun nor gone on with: other data, a run that is being trained, an edited recipe."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image

from dermlens.data.synthetic.folder import write_synthetic
from dermlens.errors import UserError
from dermlens.files import write_json
from dermlens.runs import Run
from dermlens.training import machine
from dermlens.training.checkpoints import AtomicCheckpoints, KeepBest
from dermlens.training.fit import fit, resume_fit


def test_a_recipe_for_other_data_makes_no_run_and_names_the_way_out(train, tiny_recipe, tmp_path):
    with pytest.raises(UserError, match=r"grouped-v1 .*--set split\.manifest=null") as caught:
        train(tiny_recipe("split.manifest=grouped-v1"))
    assert "--resume" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_data_on_resuming_are_refused(half, cache, tmp_path):
    other = write_synthetic(tmp_path / "other", lesions=30, seed=1, size=(48, 64))
    with pytest.raises(UserError, match=r"another table.*--data"):
        resume_fit(half.path, data=other, cache=cache)


def test_a_run_that_is_being_trained_is_not_resumed(half, cache):
    half.record(status="running")
    program = (
        "import sys; from pathlib import Path; from dermlens.files import claimed\n"
        "with claimed(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(half.path / machine.LOCK)]
    before = half.record_file.read_bytes()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="being trained"):
            resume_fit(half.path, cache=cache)
        other.kill()
    assert half.record_file.read_bytes() == before
    assert resume_fit(half.path, cache=cache, device="cpu").read_record().status == "completed"


def test_a_second_command_takes_nothing_from_the_first_that_has_made_its_folder(train, tiny_recipe, tmp_path):
    """Both name an empty folder; the second comes before the first has begun an epoch."""
    program = (
        "import sys; from pathlib import Path; from dermlens.recipe import Recipe\n"
        "from dermlens.runs import Run; from dermlens.training.machine import held\n"
        "run = Run(Path(sys.argv[1]))\n"
        "with held(run): Run.create(run.path, Recipe()); print('made', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "made\n"
        before = {path.name for path in (tmp_path / "run").iterdir()}
        with pytest.raises(UserError, match="is being trained by another process"):
            train(tiny_recipe("train.epochs=1"))
        assert {path.name for path in (tmp_path / "run").iterdir()} == before >= {"run.json", "recipe.yaml"}
        other.kill()


def test_training_holds_the_lock(train, tiny_recipe, tmp_path, monkeypatch):
    """What `fit` does while it trains: the system sees two openings of one file as two holders."""
    refused = []

    def training(run, *args):
        with pytest.raises(UserError, match="being trained"), machine.held(run):
            pass
        refused.append(run.path)
        raise UserError("enough")

    monkeypatch.setattr("dermlens.training.fit.train", training)
    with pytest.raises(UserError, match="enough"):
        train(tiny_recipe())
    assert refused == [tmp_path / "run"]
    with machine.held(Run(tmp_path / "run")):
        pass


def edited(path, old, new):
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("heads: 2", "heads: 3"), "model.heads"),
        (("kind: adamw", "kind: sgd"), "train.optimizer.kind"),
        (("lr: 0.002", "lr: 0.02"), "train.optimizer.lr"),
        (("epochs: 2", "epochs: 3"), "train.epochs"),
        (("seed: 0", "seed: 1"), "seed"),
    ],
    ids=str,
)
def test_an_edited_recipe_is_refused_by_what_was_edited(half, cache, change, key):
    edited(half.recipe_file, *change)
    with pytest.raises(UserError, match=rf"changed.*recipe\.yaml \(.*\b{key}\b"):
        resume_fit(half.path, cache=cache, device="cpu")


def test_a_comment_is_no_edit(half, cache):
    half.recipe_file.write_text("# a comment is no change\n" + half.recipe_file.read_text())
    assert resume_fit(half.path, cache=cache, device="cpu").read_record().status == "completed"


def test_a_run_of_an_earlier_version_is_refused_by_its_checkpoint_alone(half, cache):
    record = half.read_record().model_dump(exclude_unset=True)
    del record["began_with"]
    write_json(half.record_file, record)
    edited(half.recipe_file, "heads: 2", "heads: 3")
    with pytest.raises(UserError, match=r"recipe\.yaml"):
        resume_fit(half.path, cache=cache, device="cpu")


def test_a_changed_split_is_refused(half, cache):
    rows = half.split_file.read_text().splitlines(keepends=True)
    lesions = {row.split(",")[1] for row in rows if row.endswith(",selection\n")}
    moved = sorted(lesions)[0]
    half.split_file.write_text(
        "".join(row.replace(",selection", ",train") if f",{moved}," in row else row for row in rows)
    )
    with pytest.raises(UserError, match=r"changed.*split\.csv"):
        resume_fit(half.path, cache=cache, device="cpu")


def test_a_changed_image_is_refused(tiny_recipe, tiny_data, cache, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    run = fit(tiny_recipe("train.epochs=1"), data, out=tmp_path / "run", device="cpu", cache=cache)
    run.record(status="interrupted")
    moved = shutil.copytree(tiny_data, tmp_path / "moved")  # with other times of change
    for file in moved.rglob("*.jpg"):
        os.utime(file, (1, 1))
    assert resume_fit(run.path, data=moved, cache=cache, device="cpu").read_record().status == "completed"
    run.record(status="interrupted")
    picture = sorted(data.rglob("*.jpg"))[3]
    with Image.open(picture) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture)
    with pytest.raises(UserError, match=r"changed.*images"):
        resume_fit(run.path, data=data, cache=cache, device="cpu")


def test_flipped_bits_in_a_checkpoint_never_train_on(half, cache):
    """At twenty places, and in a block of zeros: refused, or where no tensor is."""
    path = half.checkpoints / "last.ckpt"
    right = path.read_bytes()
    reader = AtomicCheckpoints()
    expected = reader.load_checkpoint(path)["state_dict"]
    refused = 0
    places = range(500, len(right), len(right) // 20)
    for place in places:
        for width in (1, 64):
            damaged = bytearray(right)
            damaged[place : place + width] = bytes(one ^ 16 for one in damaged[place : place + width])
            path.write_bytes(damaged)
            try:
                found = reader.load_checkpoint(path)["state_dict"]
            except UserError:
                refused += 1
            else:
                assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert refused > len(places)
    path.write_bytes(right[:5000] + bytes(4096) + right[9096:])
    with pytest.raises(UserError, match="not a checkpoint"):
        resume_fit(half.path, cache=cache, device="cpu")


@pytest.mark.parametrize(
    "mistake",
    [
        "data.metadata=none",
        "train.distillation={soft_labels: absent.csv}",
        "imbalance.confirmation={nobody: 2}",
    ],
)
def test_a_rejected_recipe_leaves_no_folder_in_the_way(train, tiny_recipe, tmp_path, mistake):
    extra = ["model.metadata=paper"] if "metadata" in mistake else []
    with pytest.raises(UserError):
        train(tiny_recipe(mistake, *extra))
    assert not (tmp_path / "run").exists()


def test_a_run_without_one_finite_score_keeps_nothing(train, tiny_recipe, monkeypatch):
    monkeypatch.setattr(KeepBest, "on_validation_end", lambda *args: None)
    with pytest.raises(UserError, match="val_loss"):
        train(tiny_recipe("train.epochs=1", "train.keep=val_loss"))
