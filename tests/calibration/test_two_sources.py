"""From a recipe with two sources to an answer: train, calibrate, evaluate, report, export, predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from command import exit_code

from dermlens.data.synthetic.folder import write_synthetic
from dermlens.labels import CLASSES
from dermlens.runs import Run

SETTINGS = (
    "data.folders=[north, south]", "data.size=48", "data.squashed={}", "data.skip=[]", "model.weights=none",
    "split={protocol: sources, selection: 0.15, calibration: 0.4, test: 0}",
    "train.epochs=1", "train.resize=[]", "train.batch_size=32",
    "imbalance.sampler={kind: lesions, by_source: {south: {caps: {nv: 5}}}}", "evaluation.bootstrap=20",
    "evaluation.views={symmetries: 1}",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clinics' folders, and a run of the recipe that ships for several sources."""
    folder = tmp_path_factory.mktemp("world")
    for seed, name in enumerate(("north", "south")):
        home = write_synthetic(folder / "data" / name, lesions=90, seed=seed, size=(48, 64))
        table = home / "HAM10000_metadata.csv"
        rows = pd.read_csv(table)
        for image in (home / "images").iterdir():
            image.rename(image.with_name(f"{name}-{image.name}"))
        rows["image_id"], rows["lesion_id"] = f"{name}-" + rows["image_id"], f"{name}-" + rows["lesion_id"]
        rows.assign(dataset=name).to_csv(table, index=False)
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    options = ("--data", folder / "data", "--out", folder / "run", "--cache", folder / "cache")
    assert exit_code("train", "sources/efficientnet_lite0", *options, "--device", "cpu", *words) == 0
    return folder


@pytest.fixture(scope="module")
def calibrated(world: Path) -> Run:
    assert exit_code("calibrate", world / "run", "--cache", world / "cache", "--device", "cpu") == 0
    assert exit_code("evaluate", world / "run") == 0
    return Run(world / "run")


def test_each_source_is_calibrated_and_scored(calibrated):
    assert set(calibrated.predictions()["source"]) == {"north", "south"}
    decision = json.loads((calibrated.path / "model.json").read_text())["decision"]
    assert decision["prior"]["name"] == "specialist"
    assert set(decision["suspicion"]["marks"][-1]["by_source"]) == {"north", "south"}
    scores = calibrated.metrics.roles["calibration"]
    assert set(scores["equal_prior"]["by_source"]) == {"north", "south"}
    assert {"ece", "ece_by_chance", "slope", "intercept"} <= set(scores["equal_prior"]["by_source"]["north"])
    (_, mark) = scores["suspicion"]["marks"]
    assert set(mark["ppv"]) == {"0.01", "0.04", "0.1"}
    assert set(mark["by_source"]) == {"north", "south"}


def test_another_case_mix_has_scores_of_its_own(calibrated):
    assert exit_code("evaluate", calibrated.path, "--prior", "equal") == 0
    found = json.loads((calibrated.path / "priors" / "equal" / "metrics.json").read_text())
    own = calibrated.metrics
    assert (own.prior["name"], found["prior"]["name"]) == ("specialist", "equal")
    recall = found["roles"]["calibration"]["overall"]["balanced_accuracy_isic"]["value"]
    assert recall == pytest.approx(own.roles["calibration"]["equal_prior"]["mean_recall"], abs=1e-6)


def test_the_report_shows_suspicion_and_calibration_source_by_source(calibrated):
    assert exit_code("report", calibrated.path) == 0
    for name in ("report.html", "model_card.md"):
        text = (calibrated.path / name).read_text(encoding="utf-8")
        for words in ("Suspicion of malignancy", "PPV at 4 %", "At equal class shares", "south"):
            assert words in text, (name, words)


def test_the_export_answers_a_lesion_over_its_images(calibrated, world, tmp_path, exported_run):
    model = exported_run
    table = tmp_path / "lesions.csv"
    images = sorted((world / "data" / "north" / "images").iterdir())[:3]
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "lesion_id"])
        writer.writerows(zip([image.stem for image in images], ["one", "one", "two"], strict=True))
    words = ("predict", *images, "--table", table, "--model", model, "--out", tmp_path / "out.csv")
    assert exit_code(*words) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        one, two = csv.DictReader(file)
    assert (one["lesion_id"], one["images"]) == ("one", f"{images[0].stem}|{images[1].stem}")
    assert (two["lesion_id"], two["images"]) == ("two", images[2].stem)
    for row in (one, two):
        if row["state"] != "withheld":
            p = {code: float(row[f"p_{code}"]) for code in CLASSES}
            assert sum(p.values()) == pytest.approx(1, abs=1e-6)
            assert row["diagnosis"] == max(p, key=p.get)
            assert row["diagnosis"] in row["set"].split("|")
            assert row["flagged"] in ("yes", "no")


@pytest.fixture(scope="module")
def exported_run(calibrated, world) -> Path:
    """The run, exported once."""
    assert exit_code("export", calibrated.path, "--out", world / "model") == 0
    return world / "model"
