"""Somebody else's parts, by import path: they keep the contracts, train, and run only where trusted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from dermlens import load, plugins
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.models.saved import load_model
from dermlens.plugins import resolve, trusted_code
from dermlens.recipe import load_recipe, parse_recipe
from dermlens.runs import Run
from dermlens.serve.app import create_app
from dermlens.serve.limits import ServeConfig
from dermlens.testing import (
    check_augmentation,
    check_backbone,
    check_loss,
    check_metadata_branch,
    check_metric,
    check_reader,
    check_sampler,
)

RECIPE = Path(__file__).with_name("outsider") / "recipe.yaml"
MATRIX = RECIPE.with_name("matrix.yaml")


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Synthetic lesions with their labels in a form of somebody's own."""
    folder = write_synthetic(tmp_path_factory.mktemp("listed") / "data", lesions=60, seed=0, size=(48, 64))
    rows = read_table(folder)
    lines = rows[["image_id", "lesion_id", "dx", "age"]].itertuples(index=False)
    text = "\n".join("|".join(map(str, line)) for line in lines)
    (folder / "lesions.txt").write_text(text, encoding="utf-8")
    (folder / "HAM10000_metadata.csv").unlink()
    return folder


@pytest.fixture(scope="module")
def run(listed, cache, tmp_path_factory):
    """The recipe, trained and scored once on the command line; tests read the run and write nothing."""
    from command import exit_code

    out = tmp_path_factory.mktemp("outsider") / "run"
    where = ("--device", "cpu", "--cache", cache)
    assert exit_code("train", RECIPE, "--data", listed, "--out", out, *where) == 0
    assert exit_code("evaluate", out, "--trust-code", *where) == 0
    return out


@pytest.fixture
def fresh(monkeypatch):
    """A process that has resolved nothing yet, and has not imported the package."""
    monkeypatch.setattr(plugins, "_resolved", set())
    for name in [name for name in sys.modules if name.partition(".")[0] == "outsider"]:
        monkeypatch.delitem(sys.modules, name)


def imported() -> bool:
    return "outsider.parts" in sys.modules


def test_the_parts_of_somebody_else_keep_the_contracts(listed):
    check_loss("outsider.parts:poly1", epsilon=2.0)
    check_sampler("outsider.parts:equal", each=3)
    check_augmentation("outsider.parts:vignette", strength=1.0)
    check_backbone("outsider.parts:net", width=4)
    check_metadata_branch("outsider.parts:Gate")
    check_reader("outsider.parts:read_list", listed)
    check_metric("outsider.parts:worst_recall")


def test_a_recipe_trains_with_all_of_them_and_stores_their_settings(run):
    stored = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    assert stored["imbalance"]["loss"] == {"kind": "outsider.parts:poly1", "epsilon": 0.5}
    assert stored["augment"]["plugins"] == [{"kind": "outsider.parts:vignette", "strength": 0.5}]
    assert stored["model"]["backbone_settings"] == {"width": 8}
    counts = json.loads((run / "run.json").read_text(encoding="utf-8"))["counts"]["train"]
    assert sum(counts.values()) > 0
    saved = load_model(run, trust_code=True)
    assert type(saved.model.head.branch).__name__ == "Gate"
    assert Run(run).recipe == load_recipe(str(RECIPE), trust_code=True)


def test_the_metric_is_scored_with_its_interval(run):
    scored = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["roles"]["selection"]
    recalls = [one["recall"]["value"] for one in scored["per_class"].values() if one["support"]]
    assert scored["plugins"]["outsider.parts:worst_recall"]["value"] == pytest.approx(min(recalls))


def test_a_network_of_somebody_else_predicts_alike_without_its_code(run, listed, dermlens, tmp_path, fresh):
    """An exported folder is numbers: what predicts from it and serves it imports nothing."""
    assert dermlens("export", run, "--out", tmp_path / "model", "--trust-code").code == 0
    for name in [name for name in sys.modules if name.partition(".")[0] == "outsider"]:
        del sys.modules[name]
    image = next(listed.rglob("*.jpg"))
    outcome = dermlens("predict", image, "--model", tmp_path / "model", "--json")
    assert outcome.code == 0, outcome.err
    (answer,) = json.loads(outcome.out)["answers"]
    predictor = load(tmp_path / "model")
    assert predictor.predict(image)[0].diagnosis == answer["diagnosis"]
    create_app(predictor, ServeConfig())
    assert not imported()


@pytest.mark.parametrize("verb", ["evaluate", "export", "explain", "calibrate", "report"])
def test_a_stored_run_that_names_code_is_refused_unless_it_is_trusted(
    verb, run, listed, dermlens, tmp_path, fresh
):
    words = [verb, run, *(["--out", tmp_path / "out"] if verb == "export" else [])]
    if verb == "explain":
        words = [verb, next(listed.rglob("*.jpg")), "--model", run]
    if verb == "report":
        words += ["--data", listed]
    outcome = dermlens(*words)
    assert outcome.code == 2
    assert "outsider.parts:" in outcome.err
    assert "--trust-code" in outcome.err
    assert not imported()


def test_a_model_folder_and_a_recipe_are_refused_in_python(run, fresh):
    with pytest.raises(UserError, match=r"outsider\.parts:net.*trust_code=True"):
        load_model(run)
    assert Run(run).recipe.imbalance.loss.kind == "outsider.parts:poly1"  # read, and not run
    assert not imported()
    with trusted_code():
        load_model(run)
    assert imported()


def test_going_on_with_a_stored_run_needs_trust(run, listed, cache, dermlens, tmp_path, fresh):
    begun = Run(shutil.copytree(run, tmp_path / "begun"))
    begun.record(status="interrupted")
    outcome = dermlens("train", "--resume", begun.path, "--data", listed, "--device", "cpu", "--cache", cache)
    assert (outcome.code, imported()) == (2, False)
    assert "--trust-code" in outcome.err


def test_an_ablation_compares_a_loss_of_somebody_else(listed, cache, tmp_path, dermlens, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    outcome = dermlens(
        "study",
        "ablate",
        MATRIX,
        "--data",
        listed,
        "--out",
        tmp_path / "a",
        "--device",
        "cpu",
        "--cache",
        cache,
    )
    assert outcome.code == 0, outcome.err
    assert "poly1" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "imbalance:\n  loss: {kind: 'outsidr.parts:poly1'}",
            ["line 2", "no module outsidr", "nearest: outsider"],
        ),
        ("imbalance: {loss: {kind: 'outsider.part:poly1'}}", ["outsider.part", "nearest: outsider.parts"]),
        ("imbalance: {loss: {kind: 'outsider.parts:poly'}}", ["has no poly", "nearest: poly1"]),
        (
            "imbalance: {loss: {kind: 'outsider.parts:net'}}",
            ["imbalance.loss", "is a backbone", "wanted is a loss"],
        ),
        (
            "imbalance: {loss: {kind: 'outsider.parts:unmarked'}}",
            ["not marked as a plugin", '@plugin("loss"'],
        ),
        ("imbalance: {loss: {kind: 'outsider.parts:poly1', epsilom: 1}}", ["epsilom", "nearest: epsilon"]),
        ("imbalance: {loss: {kind: 'outsider.parts:poly1', epsilon: -1}}", ["epsilon -1", "greater than"]),
        ("imbalance: {loss: {kind: 'outsider parts:poly1'}}", ["no import path"]),
        ("model:\n  backbone: outsider.parts:nett", ["line 1", "model.backbone", "nearest: net"]),
        (
            "model: {backbone: 'outsider.parts:net', backbone_settings: {widht: 3}}",
            ["widht", "nearest: width"],
        ),
        ("model: {backbone_settings: {width: 3}}", ["backbone_settings", "mobilenet_v3_small"]),
        ("model: {backbone: 'timm:resnet81'}", ["model.backbone", "timm has no resnet81"]),
        ("augment: {plugins: [vignette]}", ["vignette is no import path"]),
    ],
)
def test_a_mistake_in_what_plugs_in_is_one_sentence(text, words):
    with pytest.raises(UserError) as caught:
        parse_recipe(text, "recipe r", trust_code=True)
    assert "\n" not in str(caught.value)
    for word in ["recipe r", *words]:
        assert word in str(caught.value)


def test_a_module_that_fails_says_so(tmp_path, monkeypatch):
    (tmp_path / "broken_parts.py").write_text("import a_module_that_nobody_has\n")
    (tmp_path / "failing_parts.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with trusted_code():
        with pytest.raises(UserError, match="needs a_module_that_nobody_has"):
            resolve("loss", "broken_parts:x", "imbalance.loss")
        with pytest.raises(UserError, match="ZeroDivisionError"):
            resolve("loss", "failing_parts:x", "imbalance.loss")


def test_an_entry_point_is_a_name_of_its_own(monkeypatch):
    """Whoever installed it trusts it, so that it needs no option."""
    points = {"poly1": "outsider.parts:poly1"}
    monkeypatch.setattr(plugins, "_entry_points", lambda kind: points if kind == "loss" else {})
    monkeypatch.setattr(plugins, "_resolved", set())
    recipe = parse_recipe("imbalance: {loss: {kind: poly1}}", "r")
    assert recipe.imbalance.loss.given == {"epsilon": 1.0}


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:regnetx_002@s3"])
def test_any_convolutional_network_of_timm_is_a_backbone(name):
    check_backbone(name, size=64)


def test_a_network_without_a_feature_map_is_refused():
    with pytest.raises(UserError, match="timm:vit_tiny_patch16_224"):
        check_backbone("timm:vit_tiny_patch16_224", size=224)


def loss_without_weights(logits_BC, target_B, weight_C):
    import torch.nn.functional as F

    return F.cross_entropy(logits_BC, target_B, reduction="none")


def metric_that_counts(target_N, p_NC, classes):
    return len(target_N)


def test_a_check_says_what_is_wrong(monkeypatch):
    module = type(sys)("wrong_parts")
    module.loss = plugins.plugin("loss")(loss_without_weights)
    monkeypatch.setitem(sys.modules, "wrong_parts", module)
    with pytest.raises(AssertionError, match=r"wrong_parts:loss.*class weights"):
        check_loss("wrong_parts:loss")
    with pytest.raises(AssertionError, match=r"metric_that_counts.*twice"):
        check_metric(metric_that_counts)
