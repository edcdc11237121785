"""What is asked of the curves, by made-up histories and by those that are published."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import pytest

from paper.curves import EPOCHS, LOGS, Curves, judge, mean_loss, publish_first_epochs, read_curves, read_logs

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "paper"


def history(losses, accuracy=0.72):
    return pd.DataFrame({"epoch": range(len(losses)), "train_loss": losses, "train_accuracy": accuracy})


def judged(**curves):
    logs = read_logs()
    given = {name: Curves(logs[notebook]) for name, notebook in LOGS.items()} | curves
    return {(one.backbone, one.asks.split()[-1]): one.holds for one in judge(given)}


def test_logs_are_the_authors_own():
    logs = read_logs()
    assert {name: len(log) for name, log in logs.items()} == {"MD-V3S": 63, "MD-V3L-34": 61, "MD-M2": 66}
    assert list(logs["MD-V3S"]["train_loss"][:3]) == [2.9783, 1.6480, 1.0297]
    assert list(logs["MD-V3L-34"]["train_accuracy"][:2]) == [0.4331, 0.6166]
    assert max(logs["MD-M2"]["val_accuracy"]) == 0.8092  # what the notebook reports
    assert all(list(log["epoch"]) == list(range(len(log))) for log in logs.values())


def small(factor, accuracy, keras=1.0):
    log = read_logs()["MD-V3S"]
    ours = {seed: history(log["train_loss"][:EPOCHS] * factor, accuracy) for seed in range(3)}
    theirs = {seed: history(log["train_loss"][:EPOCHS] * keras) for seed in range(3)}
    return Curves(log, ours, theirs)


@pytest.mark.parametrize(
    ("factor", "accuracy", "expected"),
    [(1.4, 0.65, (False, True, True)), (1.2, 0.5, (True, True, False)), (1.6, 0.8, (False, False, True))],
)
def test_bounds_of_v3_small(factor, accuracy, expected):
    found = [
        one.holds
        for one in judge(
            {name: Curves(log) for name, log in zip(LOGS, read_logs().values(), strict=True)}
            | {"mobilenet_v3_small": small(factor, accuracy)}
        )
        if one.backbone == "mobilenet_v3_small"
    ]
    assert tuple(found) == expected


def test_nothing_is_judged_before_its_runs_are_there():
    assert set(judged().values()) == {None}


def test_a_loss_above_the_first_fails_v3_large():
    log = read_logs()["MD-V3L-34"]
    for losses, holds in (([2, 1, 1, 1, 1, 1.9], True), ([2, 1, 2.1, 1, 1, 1], False)):
        found = judged(mobilenet_v3_large=Curves(log, {0: history(losses)}))
        assert found["mobilenet_v3_large", "epoch's"] is holds


def test_the_first_six_epochs_of_a_training_that_goes_on_are_published(tmp_path):
    for seed, epochs in ((0, 8), (1, 5)):
        folder = tmp_path / "systems" / "mobilenet_v2-md" / f"seed-{seed}"
        folder.mkdir(parents=True)
        table = history(np.linspace(2, 1, epochs)).assign(val_loss=1.0, val_accuracy=0.5)
        table.to_csv(folder / "history.csv", index=False)
    publish_first_epochs(tmp_path / "systems", tmp_path)
    ours = read_curves(tmp_path)["mobilenet_v2"].ours
    assert {seed: len(table) for seed, table in ours.items()} == {0: EPOCHS}


def test_published_judgements_are_what_the_histories_say():
    """Every number of tables/curves.csv, from the CSVs by NumPy alone."""
    stated = pd.read_csv(RESULTS / "report" / "tables" / "curves.csv").astype(object)
    curves = read_curves(RESULTS)
    assert [one.found for one in judge(curves)] == list(stated["found"])
    for backbone, own in curves.items():
        for table in (*own.ours.values(), *own.keras.values()):
            losses = table["train_loss"].to_numpy()[1:EPOCHS]
            assert mean_loss(table) == pytest.approx(math.exp(np.log(losses).mean()))
        if backbone == "mobilenet_v3_small" and len(own.ours) == 3:
            ratio = median(map(mean_loss, own.ours.values())) / mean_loss(own.authors)
            row = stated[stated["asks"].str.contains("a factor 1.5")].iloc[0]
            assert str(row["holds"]) == str(1 / 1.5 <= ratio <= 1.5)
