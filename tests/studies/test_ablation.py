from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from tiny_studies import TINY

from dermlens.errors import UserError
from dermlens.studies.ablation import ablate, publish, read_record, rescore, score_folder
from dermlens.studies.folds import read_out_of_fold, read_tables, write_arm
from dermlens.studies.matrix import parse_matrix

MATRIX = """
name: tiny
about: Whether anything runs.
recipe: RECIPE
set: {data.size: 48}
folds: 2
images: 100
baseline: plain
arms:
  focal: {tests: Easy examples fade., set: {imbalance.loss: {kind: focal}}}
  plain: {tests: Nothing., set: {imbalance.weights: none}}
"""


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(TINY)
    return parse_matrix(MATRIX.replace("RECIPE", str(file)), "here")


@pytest.fixture(scope="module")
def done(matrix, data, cache, tmp_path_factory):
    """A whole ablation; tests read it and write nothing."""
    out = tmp_path_factory.mktemp("ablation") / "out"
    ablate(matrix, data, out, device="cpu", cache=cache)
    return out


@pytest.fixture
def copy(done, tmp_path):
    """The part that is published, to write to."""
    publish(done, tmp_path / "published")
    return tmp_path / "published"


def test_all_arms_are_on_the_same_folds_and_within_the_budget(done):
    folds = {
        arm: read_out_of_fold(done / "arms" / arm / "predictions.csv").set_index("image_id")["fold"]
        for arm in ("plain", "focal")
    }
    pd.testing.assert_series_equal(folds["plain"], folds["focal"])
    record = json.loads((done / "ablation.json").read_text())
    train = (folds["plain"] != 0).sum()  # of the first fold
    for arm in record["arms"].values():
        assert arm["images_seen"] == arm["epochs"] * train
        assert abs(arm["images_seen"] - 100) <= train / 2
    assert record["images"] == len(folds["plain"])
    assert record["missing"] == []


def test_the_table_is_of_the_predictions(done):
    """Five digits are kept, and the table is computed from them."""
    table = pd.read_csv(done / "ablation.csv").set_index(["arm", "decision", "metric"])
    p = [f"p_{code}" for code in ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")]
    for arm in ("plain", "focal"):
        found = read_out_of_fold(done / "arms" / arm / "predictions.csv")
        right = found[p].idxmax(axis=1).str.removeprefix("p_") == found["target"]
        assert table.loc[(arm, "argmax", "accuracy"), "value"] == pytest.approx(right.mean(), abs=1e-5)
    assert list(table.index.unique("arm")) == ["plain", "focal"]


def test_rescoring_what_is_published_gives_the_same_bytes(done, copy):
    names = ("ablation.csv", "README.md", "differences.png")
    for name in names:
        (copy / name).unlink()
    rescore(copy)
    for name in names:
        assert (copy / name).read_bytes() == (done / name).read_bytes()


def part_of(done, out, arm):
    """The ablation as another machine has it, which trained one arm."""
    shutil.copytree(done / "arms" / arm, out / "arms" / arm)
    shutil.copyfile(done / "matrix.yaml", out / "matrix.yaml")
    return out


def test_several_machines_may_share_the_arms(matrix, data, done, copy, tmp_path):
    for arm in ("plain", "focal"):
        ablate(matrix, data, part_of(done, tmp_path / arm, arm), only=[], device="cpu")
        publish(tmp_path / arm, tmp_path / "shared")
        assert list(read_record(tmp_path / "shared")["arms"]) == ["plain", "focal"][: 1 + (arm == "focal")]
    names = {str(path.relative_to(copy)) for path in copy.rglob("*.*")}
    assert names == {
        str(path.relative_to(tmp_path / "shared")) for path in (tmp_path / "shared").rglob("*.*")
    }
    for name in names:
        assert (tmp_path / "shared" / name).read_bytes() == (copy / name).read_bytes(), name


def test_arms_of_other_experiments_are_not_mixed(matrix, data, done, tmp_path):
    out = part_of(done, tmp_path / "focal", "focal")
    ablate(matrix, data, out, only=[], device="cpu")
    with pytest.raises(UserError, match=r"baseline.*not trained"):
        publish(out, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    for name, change in (("matrix", {"images": 300}), ("images", {"images": 100})):
        folder = tmp_path / name
        publish(done, folder)
        record = read_record(folder)
        record["matrix"] |= change
        (folder / "ablation.json").write_text(json.dumps(record))
        if name == "images":
            pd.read_csv(folder / "images.csv.gz").iloc[1:].to_csv(folder / "images.csv.gz", index=False)
        before = {path: path.read_bytes() for path in folder.rglob("*.*")}
        with pytest.raises(UserError, match=f"other {name}"):
            publish(out, folder)
        assert before == {path: path.read_bytes() for path in folder.rglob("*.*")}


def test_rescoring_sees_what_the_predictions_say(done, copy):
    tables = read_tables(copy, ["focal"])
    columns = [name for name in tables["focal"] if name.startswith("p_")]
    turned = tables["focal"].copy()
    turned[columns] = turned[columns[::-1]].to_numpy()
    write_arm(copy, "focal", turned)
    before, after = score_folder(done), score_folder(copy)
    assert not before.equals(after)
    pd.testing.assert_frame_equal(before[before["arm"] == "plain"], after[after["arm"] == "plain"])


def test_nothing_published_shows_a_patient_or_a_machine(copy):
    files = {path.name for path in copy.rglob("*") if path.is_file()}
    assert files == {
        "ablation.json", "images.csv.gz", "ablation.csv", "README.md", "differences.png",
        "histories.csv", "plain.csv.gz", "focal.csv.gz",
    }  # fmt: skip
    for name in ("ablation.json", "README.md"):
        assert str(copy.anchor + "tmp") not in (copy / name).read_text()
    assert '"/' not in (copy / "ablation.json").read_text()


def test_the_page_has_every_arm_its_question_and_the_command(done):
    page = (done / "README.md").read_text()
    assert "# Ablation: tiny" in page
    assert "| focal | Easy examples fade. | `imbalance.loss={kind: focal}` | 2 |" in page
    assert "Difference to `plain`" in page
    assert "dermlens study ablate tiny --data DIR --out OUT --set 'data.size=48'" in page
    value = pd.read_csv(done / "ablation.csv").query("arm == 'focal' and metric == 'mean_recall'").iloc[0]
    assert f"| focal | {value['value']:.3f} [" in page


def test_by_arm_and_interrupted_it_ends_the_same(matrix, data, cache, done, tmp_path, stop_at):
    out, options = tmp_path / "out", {"device": "cpu", "cache": cache}
    table = ablate(matrix, data, out, only=["plain"], **options)
    assert set(table["arm"]) == {"plain"}
    assert "not in the tables: focal" in (out / "README.md").read_text()
    with stop_at(2), pytest.raises(KeyboardInterrupt, match="same command"):
        ablate(matrix, data, out, **options)
    table = ablate(matrix, data, out, **options)
    pd.testing.assert_frame_equal(table, score_folder(done), check_exact=True)
    assert (out / "ablation.csv").read_bytes() == (done / "ablation.csv").read_bytes()
    untimed = [pd.read_csv(folder / "histories.csv").drop(columns="seconds") for folder in (out, done)]
    pd.testing.assert_frame_equal(*untimed)


def test_every_epoch_of_every_training_is_kept(matrix, done):
    histories = pd.read_csv(done / "histories.csv")
    assert set(histories["arm"]) == set(matrix.arms)
    for (arm, fold), epochs in histories.groupby(["arm", "fold"]):
        own = pd.read_csv(done / "arms" / arm / f"fold-{fold}" / "history.csv")
        pd.testing.assert_frame_equal(
            epochs[own.columns].reset_index(drop=True), own, rtol=1e-5, check_dtype=False
        )


def test_arms_may_come_later_and_none_may_change(matrix, data, done, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done / "arms" / "plain", out / "arms" / "plain")
    capped = matrix.arms["focal"].model_copy(update={"tests": "Another."})
    begun = matrix.model_copy(update={"arms": {"plain": matrix.arms["plain"], "capped": capped}})
    (out / "matrix.yaml").write_text(begun.dump(), encoding="utf-8")
    assert set(ablate(matrix, data, out, only=["plain"], device="cpu")["arm"]) == {"plain"}
    assert parse_matrix((out / "matrix.yaml").read_text(encoding="utf-8"), "out") == matrix
    other = matrix.arms["plain"].model_copy(update={"tests": "Something else."})
    with pytest.raises(UserError, match="arm plain"):
        ablate(matrix.model_copy(update={"arms": matrix.arms | {"plain": other}}), data, out)


def test_there_is_no_table_without_the_baseline(matrix, data, done, tmp_path):
    shutil.copytree(done / "arms" / "focal", tmp_path / "out" / "arms" / "focal")
    shutil.copyfile(done / "matrix.yaml", tmp_path / "out" / "matrix.yaml")
    assert ablate(matrix, data, tmp_path / "out", only=["focal"], device="cpu") is None
    assert not (tmp_path / "out" / "ablation.csv").exists()


def test_refusals(matrix, data, done, copy, tmp_path):
    with pytest.raises(UserError, match=r"arm focus.*nearest: focal"):
        ablate(matrix, data, tmp_path / "new", only=["focus"])
    with pytest.raises(UserError, match="another matrix"):
        ablate(matrix.model_copy(update={"images": 300}), data, done)
    with pytest.raises(UserError, match="not empty"):
        ablate(matrix, data, copy)
    with pytest.raises(UserError, match=r"ablation\.json"):
        rescore(tmp_path)
    broken = parse_matrix(MATRIX.replace("kind: focal", "kind: vocal"), "here")
    with pytest.raises(UserError):
        ablate(broken, data, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["images.csv.gz", "predictions/focal.csv.gz"])
def test_damaged_predictions_are_refused(name, copy, done):
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="CSV"):
        rescore(copy)
    (copy / name).unlink()
    with pytest.raises(UserError, match="does not exist"):
        rescore(copy)
    shutil.copyfile(done / name, copy / name)
    table = pd.read_csv(copy / name)
    table.iloc[1:].to_csv(copy / name, index=False)
    with pytest.raises(UserError, match="not of the images"):
        rescore(copy)


LEAK = """
name: leak
recipe: RECIPE
set: {data.size: 48, paper.siblings: withheld}
folds: 2
images: 60
baseline: clean
arms:
  clean: {tests: Nothing leaks.}
  leaky: {tests: Siblings are trained on., set: {paper.siblings: trained_on}}
  best: {tests: The epoch is chosen on what is scored., peeks: true}
"""


@pytest.fixture
def leak(tmp_path):
    def made(text: str = LEAK):
        file = tmp_path / "tiny.yaml"
        file.write_text(TINY)
        return parse_matrix(text.replace("RECIPE", str(file)), "here")

    return made


def test_a_leak_on_purpose_is_measured_and_said(leak, data, cache, tmp_path):
    out = tmp_path / "out"
    ablate(leak(), data, out, device="cpu", cache=cache)
    record = json.loads((out / "ablation.json").read_text())
    assert record["images"] == record["lesions"]  # one image a lesion
    page = (out / "README.md").read_text()
    assert "trained on in leaky, and in no other arm" in page
    assert "chosen on the scored images in best, and in no other arm" in page
    keeps = {name: arm["recipe"]["train"]["keep"] for name, arm in record["arms"].items()}
    assert keeps == {"clean": "last", "leaky": "last", "best": "val_accuracy"}


def test_arms_that_would_be_scored_on_other_images_train_nothing(leak, data, tmp_path):
    mixed = leak(LEAK.replace(", paper.siblings: withheld", ""))
    with pytest.raises(UserError, match=r"leaky.*clean"):
        ablate(mixed, data, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
