"""Our training curves next to Keras's from the same start and next to the authors' logs; what they must show.

Two comparisons that answer different questions. Keras from *our* start is the control: outside what it finds,
our training has a fault. The authors' logs (their notebooks at commit 3c00e2d) are of a start that nobody has
here, so there the bounds are wide. The bound on the control was set while seed 0 was training already.

`docs/results/paper/control/<backbone>/` holds `ours-seed-<k>.csv` and `keras-seed-<k>.csv`, the first six
epochs of each, an epoch a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from statistics import geometric_mean, median

import pandas as pd

from dermlens.files import write_text
from paper.study import read_published

EPOCHS = 6
LOGS = {"mobilenet_v3_small": "MD-V3S", "mobilenet_v3_large": "MD-V3L-34", "mobilenet_v2": "MD-M2"}
"""Backbone → the notebook whose log is drawn with it."""
CONTROL = "control"
WIDENED = 1.25
"""The range of Keras's seeds, widened by a quarter at both ends."""
LOSS_FACTOR, ACCURACY_MARGIN = 1.5, 0.10
COLUMNS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]


@dataclass(frozen=True)
class Curves:
    """The first epochs of one network.

    Attributes:
        authors: all epochs of their log.
        ours, keras: by seed.
    """

    authors: pd.DataFrame
    ours: Mapping[int, pd.DataFrame] = field(default_factory=dict)
    keras: Mapping[int, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What curves must show, and whether they do.

    Attributes:
        backbone: whose.
        asks: what was asked for.
        found: in numbers.
        holds: none where a run is lacking.
    """

    backbone: str
    asks: str
    found: str
    holds: bool | None


def read_logs() -> dict[str, pd.DataFrame]:
    """The authors' logs by notebook: an epoch a row, from 0, and `lr` with the columns of a history."""
    with files("paper").joinpath("printed/logs.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    table["epoch"] -= 1
    return {
        str(name): own.drop(columns="notebook").reset_index(drop=True)
        for name, own in table.groupby("notebook", sort=False)
    }


def read_curves(results: Path) -> dict[str, Curves]:
    """The curves of each network that has a log; what was not run is lacking.

    Args:
        results: of the study.

    Raises:
        UserError: a table is damaged.
    """
    logs = read_logs()
    return {
        backbone: Curves(
            logs[notebook],
            _by_seed(results / CONTROL / backbone, "ours"),
            _by_seed(results / CONTROL / backbone, "keras"),
        )
        for backbone, notebook in LOGS.items()
    }


def publish_first_epochs(systems: Path, results: Path) -> None:
    """Copy the first six epochs of every training that got so far, whether it goes on or not.

    Args:
        systems: the folder of the trainings, `<backbone>-md/seed-<k>/history.csv`.
        results: of the study.
    """
    for backbone in LOGS:
        for path in sorted((systems / f"{backbone}-md").glob("seed-*/history.csv")):
            lines = path.read_text(encoding="utf-8").splitlines()[: EPOCHS + 1]
            if len(lines) > EPOCHS:
                name = f"ours-{path.parent.name}.csv"
                write_text(results / CONTROL / backbone / name, "\n".join(lines) + "\n")


def judge(curves: Mapping[str, Curves]) -> list[Judgement]:
    """What was asked of the curves.

    MobileNetV2 is drawn, and judged against Keras alone: its authors' log swings threefold between epochs.
    """
    curves = {name: Curves(own.authors, _whole(own.ours), _whole(own.keras)) for name, own in curves.items()}
    small, large = curves["mobilenet_v3_small"], curves["mobilenet_v3_large"]
    return [
        _within_keras("mobilenet_v3_small", small, seeds=3),
        _within_keras("mobilenet_v2", curves["mobilenet_v2"], seeds=1),
        _loss_of_authors("mobilenet_v3_small", small),
        _accuracy_of_authors("mobilenet_v3_small", small),
        _never_above_first("mobilenet_v3_large", large),
    ]


def mean_loss(history: pd.DataFrame) -> float:
    """Geometric mean of the training loss of epochs 2 to 6, counted from 1."""
    return geometric_mean(history["train_loss"].iloc[1:EPOCHS])


def _within_keras(backbone: str, curves: Curves, *, seeds: int) -> Judgement:
    asks = (
        "the geometric mean loss of epochs 2 to 6 of each seed lies in the range of Keras's from the same"
        " start, widened by a quarter"
    )
    ours, theirs = _means(curves.ours), _means(curves.keras)
    if len(theirs) < seeds or not ours:
        return Judgement(backbone, asks, f"ours {_say(ours)}; Keras {_say(theirs)} of {seeds} seeds", None)
    low, high = min(theirs) / WIDENED, max(theirs) * WIDENED
    found = f"ours {_say(ours)}; Keras {_say(theirs)}, widened {low:.3f} to {high:.3f}"
    return Judgement(backbone, asks, found, all(low <= mean <= high for mean in ours))


def _loss_of_authors(backbone: str, curves: Curves) -> Judgement:
    asks = (
        f"the geometric mean loss of epochs 2 to 6, median of the seeds, is within a factor {LOSS_FACTOR}"
        " of the authors'"
    )
    theirs = mean_loss(curves.authors)
    if len(curves.ours) < 3:
        return Judgement(
            backbone, asks, f"ours {_say(_means(curves.ours))} of 3 seeds; authors {theirs:.3f}", None
        )
    ratio = median(_means(curves.ours)) / theirs
    found = f"ours {_say(_means(curves.ours))}; authors {theirs:.3f}: a factor {ratio:.2f}"
    return Judgement(backbone, asks, found, 1 / LOSS_FACTOR <= ratio <= LOSS_FACTOR)


def _accuracy_of_authors(backbone: str, curves: Curves) -> Judgement:
    asks = f"training accuracy at epoch 6, median of the seeds, within {ACCURACY_MARGIN:.2f} of the authors'"
    theirs = _accuracy(curves.authors)
    ours = [_accuracy(history) for history in curves.ours.values()]
    if len(ours) < 3:
        return Judgement(backbone, asks, f"ours {_say(ours)} of 3 seeds; authors {theirs:.3f}", None)
    found = f"ours {_say(ours)}; authors {theirs:.3f}"
    return Judgement(backbone, asks, found, abs(median(ours) - theirs) <= ACCURACY_MARGIN)


def _never_above_first(backbone: str, curves: Curves) -> Judgement:
    asks = "no training loss of the first six epochs is above the first epoch's"
    if not curves.ours:
        return Judgement(backbone, asks, "not run", None)
    losses = [list(history["train_loss"]) for history in curves.ours.values()]
    found = "; ".join(_say(one) for one in losses)
    return Judgement(backbone, asks, found, all(max(one) <= one[0] for one in losses))


def _accuracy(history: pd.DataFrame) -> float:
    return float(history["train_accuracy"].iloc[EPOCHS - 1])


def _whole(histories: Mapping[int, pd.DataFrame]) -> dict[int, pd.DataFrame]:
    """The runs that have six epochs: the others are drawn and not judged."""
    return {seed: history for seed, history in histories.items() if len(history) >= EPOCHS}


def _means(histories: Mapping[int, pd.DataFrame]) -> list[float]:
    return [mean_loss(history) for history in histories.values()]


def _say(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.3f}" for number in numbers) or "none"


def _by_seed(folder: Path, whose: str) -> dict[int, pd.DataFrame]:
    """The first six epochs of each run, or as many as it has."""
    found = {}
    for path in sorted(folder.glob(f"{whose}-seed-*.csv")):
        table = read_published(path, COLUMNS, COLUMNS)
        match = re.fullmatch(rf"{whose}-seed-(\d+)\.csv", path.name)
        if match:
            found[int(match[1])] = table.head(EPOCHS)
    return found
