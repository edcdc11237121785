from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
from safetensors.numpy import load_file
from safetensors.torch import save_file

from dermlens.data.predictions import read_predictions
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.evaluation.evaluate import evaluate_run
from dermlens.evaluation.ledger import publish_run
from dermlens.recipe import parse_recipe
from dermlens.report.card import write_card
from dermlens.runs import Run
from dermlens.studies.crossfit import crossfit
from dermlens.studies.soup import soup, soup_crossfits
from dermlens.training.fit import fit
from dermlens.training.predict import predict_table


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights that stand for pretrained ones."""
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_file(timm.create_model("tf_mobilenetv3_small_100").state_dict(), path)
    return f"model.weights={path}"


@pytest.fixture(scope="module")
def train(recipe, data, cache, start, tmp_path_factory):
    def train(*overrides: str) -> Path:
        out = tmp_path_factory.mktemp("member") / "run"
        return fit(
            recipe(start, "split.selection=0.2", *overrides), data, out=out, device="cpu", cache=cache
        ).path

    return train


@pytest.fixture(scope="module")
def members(train) -> list[Path]:
    return [train(), train("train.optimizer.lr=0.0005", "train.epochs=1"), train("model.dropout=0.2")]


@pytest.fixture(scope="module")
def crossfits(recipe, start, data, cache, tmp_path_factory) -> list[Path]:
    """Two cross-fits of two folds, each with a warning of its own and one that both have; to read alone."""
    folder, rates = tmp_path_factory.mktemp("crossfits"), {"a": 0.002, "b": 0.001}
    for name, rate in rates.items():
        settings = (start, "train.epochs=1", f"train.optimizer.lr={rate}")
        crossfit(recipe(*settings), data, folder / name, folds=2, device="cpu", cache=cache)
        warn(folder / name / "crossfit.json", f"of {name}", "of both")
    return [folder / name for name in rates]


def warn(record: Path, *warnings: str) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()) | {"warnings": warnings}))


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_soup_is_the_mean_of_the_weights_and_a_run_like_any(members, data, cache, tmp_path):
    run = soup(members, tmp_path / "soup", device="cpu", cache=cache)
    made, parts = load_file(run.model_file), [load_file(path / "model.safetensors") for path in members]
    assert set(made) == set(parts[0])
    for name, value in made.items():
        if name.endswith("num_batches_tracked"):
            assert value == parts[0][name]
        else:
            mean = np.mean([part[name].astype(np.float64) for part in parts], axis=0)
            np.testing.assert_allclose(value, mean, rtol=1e-6, atol=1e-9)
    # its predictions are those of its file, for the roles of the members and never for test
    found = run.predictions()
    assert set(found["role"]) == set(read_predictions(members[0] / "predictions.csv")["role"]) != {"test"}
    table = read_table(data)
    again = predict_table(
        run.model(), table[table["image_id"].isin(found["image_id"])], cache_root=cache, device="cpu"
    ).set_index("image_id")
    columns = [name for name in found if name.startswith("p_")]
    np.testing.assert_allclose(found[columns], again.loc[found["image_id"], columns], atol=1e-6)
    # what comes after a training comes after a soup
    assert evaluate_run(run).roles["selection"]["images"] > 0
    write_card(run)
    published = publish_run(run, tmp_path / "published")
    record = published.read_record().soup
    assert [one["run"] for one in record] == ["run"] * 3
    assert (published.path / "members" / "2" / "history.csv").is_file()
    assert str(members[0]) not in "".join(
        path.read_text() for path in published.path.rglob("*") if path.suffix in {".json", ".yaml", ".md"}
    )


def test_a_soup_of_one_network_twice_is_that_network(members, cache, tmp_path):
    run = soup([members[0], members[0]], tmp_path / "soup", device="cpu", cache=cache)
    alone = read_predictions(members[0] / "predictions.csv")
    columns = [name for name in alone if name.startswith("p_")]
    np.testing.assert_allclose(run.predictions()[columns], alone[columns], atol=1e-6)


def test_members_that_do_not_fit_are_refused(members, train, recipe, data, cache, tmp_path):
    cases = {
        "another network": train("model.heads=4", "train.epochs=1"),
        "another input": train("data.size=64", "train.epochs=1"),
        "another split": train("split.selection=0.3", "train.epochs=1"),
        "has seed 1, .* members begin at the same head": train("seed=1", "train.epochs=1"),
    }
    for sentence, other in cases.items():
        with pytest.raises(UserError, match=sentence):
            soup([members[0], other], tmp_path / "soup", device="cpu", cache=cache)
    with pytest.raises(UserError, match="two members"):
        soup(members[:1], tmp_path / "soup", device="cpu", cache=cache)
    random = fit(recipe("train.epochs=1"), data, out=tmp_path / "random", device="cpu", cache=cache).path
    with pytest.raises(UserError, match="random weights"):
        soup([random, random], tmp_path / "soup", device="cpu", cache=cache)
    assert not (tmp_path / "soup").exists()


def test_a_soup_is_no_member(members, cache, tmp_path):
    made = soup(members[:2], tmp_path / "soup", device="cpu", cache=cache).path
    with pytest.raises(UserError, match="soup itself"):
        soup([members[0], made], tmp_path / "another", device="cpu", cache=cache)
    assert not (tmp_path / "another").exists()


def test_a_soup_says_how_each_member_was_trained(members, cache, tmp_path):
    output = {
        "first": (["train.keep=val_accuracy"], ["a", "b"]),
        "second": (["train.keep=last", "train.monitor_role=none"], ["b", "c"]),
        "third": (["train.keep=last", "train.distillation={soft_labels: soft.csv}"], []),
    }
    for name, (settings, warnings) in output.items():
        run = Run(shutil.copytree(members[0], tmp_path / name))
        parse_recipe(run.recipe.dump(), name, settings).save(run.recipe_file)
        run.record(warnings=warnings)
    record = soup(
        [tmp_path / name for name in output], tmp_path / "soup", device="cpu", cache=cache
    ).read_record()
    assert [(one["run"], one["keep"], one["monitor_role"], one["distilled"]) for one in record.soup] == [
        ("first", "val_accuracy", "selection", False),
        ("second", "last", "none", False),
        ("third", "last", "selection", True),
    ]
    assert record.warnings == ["a", "b", "c"]


def test_cross_fits_are_averaged_fold_by_fold(crossfits, cache, tmp_path):
    facts = soup_crossfits(crossfits, tmp_path / "soup", device="cpu", cache=cache)
    merged = pd.read_csv(tmp_path / "soup" / "predictions.csv")
    alone = pd.read_csv(crossfits[0] / "predictions.csv")
    assert merged[["image_id", "target", "fold"]].equals(alone[["image_id", "target", "fold"]])
    for fold in (0, 1):
        inner = [member / f"fold-{fold}" for member in crossfits]
        direct = soup(inner, tmp_path / f"{fold}", device="cpu", cache=cache)
        expected = direct.predictions().set_index("image_id")["p_mel"]
        of_fold = merged[merged["fold"] == fold].set_index("image_id")["p_mel"]
        np.testing.assert_allclose(of_fold, expected.loc[of_fold.index], atol=1e-6)
    assert set(facts["roles"]["out_of_fold"]["decisions"]) == {"argmax", "equal"}
    assert facts["warnings"] == ["of a", "of both", "of b"]
    written = (tmp_path / "soup" / "fold-0" / "run.json").stat().st_mtime_ns
    soup_crossfits(crossfits, tmp_path / "soup", device="cpu", cache=cache)
    assert (tmp_path / "soup" / "fold-0" / "run.json").stat().st_mtime_ns == written


def test_a_soup_of_cross_fits_goes_on_with_its_own_folds_alone(crossfits, cache, tmp_path):
    made = tmp_path / "soup"
    soup_crossfits(crossfits, made, device="cpu", cache=cache)
    expected = (made / "predictions.csv").read_bytes()
    Run(made / "fold-1").record(status="running")
    (made / "fold-0").rename(made / ".fold-0.part")  # as a kill leaves it
    soup_crossfits(crossfits, made, device="cpu", cache=cache)
    assert (made / "predictions.csv").read_bytes() == expected
    assert not (made / ".fold-0.part").exists()
    running = shutil.copytree(crossfits[0] / "fold-1", tmp_path / "running")
    Run(running).record(status="running")
    others = {
        "a completed run": crossfits[0] / "fold-1",
        "a running one": running,
        "a soup of others": Run(made / "fold-0").path,
    }
    for name, other in others.items():
        out = shutil.copytree(made, tmp_path / name)
        shutil.rmtree(out / "fold-1")
        shutil.copytree(other, out / "fold-1")
        before = content(out)
        with pytest.raises(UserError, match=r"fold-1.*not empty"):
            soup_crossfits(crossfits, out, device="cpu", cache=cache)
        assert content(out) == before


def test_a_folder_of_anything_else_is_refused_and_left_as_it_is(crossfits, cache, tmp_path):
    made = tmp_path / "soup"
    soup_crossfits(crossfits, made, device="cpu", cache=cache)
    own = [shutil.copytree(member, tmp_path / member.name) for member in crossfits]
    partial = shutil.copytree(crossfits[0], tmp_path / "partial")
    (partial / "predictions.csv").unlink()
    Run(partial / "fold-1").record(status="running")
    others = {made: [*crossfits, crossfits[0]], own[0]: own, partial: crossfits}
    for out, members in others.items():
        before = content(out)
        with pytest.raises(UserError, match="not empty"):
            soup_crossfits(members, out, device="cpu", cache=cache)
        assert content(out) == before


def test_members_that_no_soup_is_made_of_leave_no_folder(crossfits, cache, tmp_path):
    soup_crossfits(crossfits, tmp_path / "soup", device="cpu", cache=cache)
    cases = {
        "a soup needs two members": crossfits[:1],
        "is a soup itself": [crossfits[0], tmp_path / "soup"],
        "is no cross-fit": [crossfits[0], crossfits[0] / "fold-0"],
    }
    for sentence, members in cases.items():
        with pytest.raises(UserError, match=sentence):
            soup_crossfits(members, tmp_path / "out", device="cpu", cache=cache)
    assert not (tmp_path / "out").exists()
