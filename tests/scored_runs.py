"""A run that was never trained: everything `dermlens report` reads, drawn from a generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.data.predictions import write_predictions
from dermlens.evaluation.score import score
from dermlens.labels import CLASSES
from dermlens.recipe import parse_recipe
from dermlens.runs import Run

MIXTURE = np.array([0.05, 0.07, 0.12, 0.02, 0.13, 0.58, 0.03])
SITES = ("back", "trunk", "lower extremity", "face", "unknown")
RunMaker = Callable[..., Run]


def draw_predictions(
    images: int, roles: tuple[str, ...], *, seed: int = 0, prefix: str = "ISIC", sharpness: float = 3.0
) -> pd.DataFrame:
    """Probabilities from a Dirichlet that leans to the true class; a lesion has one to three images."""
    rng = np.random.default_rng(seed)
    lesion_N = np.sort(rng.integers(0, int(images / 1.3), images))
    target_L = rng.choice(len(CLASSES), lesion_N.max() + 1, p=MIXTURE)
    role_L = rng.choice(roles, lesion_N.max() + 1)
    target_N = target_L[lesion_N]
    concentration_NC = (
        0.15 + 2 * MIXTURE + sharpness * np.eye(len(CLASSES))[target_N] * rng.random((images, 1))
    )
    p_NC = np.array([rng.dirichlet(row) for row in concentration_NC])
    missing_N = rng.random(images) < 0.02
    return pd.DataFrame(
        {
            "image_id": [f"{prefix}_{number:07d}" for number in range(images)],
            "lesion_id": [f"HAM_{number:07d}" for number in lesion_N],
            "role": role_L[lesion_N],
            "target": [CLASSES[index] for index in target_N],
            **{f"p_{code}": p_NC[:, index] for index, code in enumerate(CLASSES)},
            "age": np.where(missing_N, np.nan, 5.0 * rng.integers(1, 18, images)),
            "sex": rng.choice(["female", "male", "unknown"], images, p=[0.45, 0.54, 0.01]),
            "site": rng.choice(SITES, images),
            "dx_type": np.where(
                target_N == CLASSES.index("nv"), rng.choice(["histo", "follow_up"], images), "histo"
            ),
        }
    )


def write_history(run: Run, epochs: int = 12) -> None:
    """Loss falls, accuracy rises; the best mean recall is in epoch 8."""
    epoch = np.arange(epochs)
    recall = 0.3 + 0.04 * epoch - 0.05 * np.maximum(epoch - 8, 0)
    pd.DataFrame(
        {
            "epoch": epoch,
            "step": 200 * (epoch + 1),
            "train_loss": 1.6 * np.exp(-0.15 * epoch),
            "train_accuracy": 0.6 + 0.025 * epoch,
            "val_loss": 1.5 * np.exp(-0.1 * epoch) + 0.02 * np.maximum(epoch - 8, 0),
            "val_accuracy": 0.6 + 0.015 * epoch,
            "val_mean_recall": recall,
            "lr": 0.001 * 0.8**epoch,
            "seconds": 30.0,
        }
    ).to_csv(run.history_file, index=False)


def make_run(
    folder: Path,
    *,
    protocol: str = "grouped",
    roles: tuple[str, ...] = ("calibration", "selection"),
    images: int = 600,
    predictions: pd.DataFrame | None = None,
    bootstrap: int = 40,
    **facts: object,
) -> Run:
    """Write a completed, evaluated run.

    Args:
        folder: of the run, absent or empty.
        protocol: of its split.
        roles: that were scored.
        images: how many predictions to draw.
        predictions: instead of drawn ones.
        bootstrap: resamples.
        facts: more for run.json.
    """
    recipe = parse_recipe(
        f"name: {folder.name}\nsplit: {{protocol: {protocol}}}\nevaluation: {{bootstrap: {bootstrap}}}\n",
        "here",
    )
    run = Run.create(folder, recipe)
    table = draw_predictions(images, roles) if predictions is None else predictions
    write_predictions(run.predictions_file, table)
    from dermlens.files import write_json

    write_json(run.metrics_file, score(table, CLASSES, recipe.evaluation))
    write_history(run)
    shares = {"train": 6.0, "selection": 1.0, "calibration": 1.0, "test": 1.5}
    counts = {
        role: {code: int(300 * share * part) for code, part in zip(CLASSES, MIXTURE, strict=True)}
        for role, share in shares.items()
        if protocol == "grouped" or role in ("train", "selection")
    }
    run.end(
        "completed",
        **({
            "split": {"protocol": protocol, "seed": "0"},
            "counts": counts,
            "table_sha256": "ab" * 32,
            "trainable_parameters": 1_234_567,
            "kept_epoch": 8,
        } | facts),
    )  # fmt: skip
    return run


@pytest.fixture(scope="session")
def new_run() -> RunMaker:
    """`make_run`, for tests that need a run of their own."""
    return make_run


@pytest.fixture(scope="session")
def fake_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One evaluated run, shared: tests read it and write nothing but its report."""
    return make_run(tmp_path_factory.mktemp("runs") / "pretend")


@pytest.fixture(scope="session")
def drawn() -> Callable[..., pd.DataFrame]:
    """`draw_predictions`."""
    return draw_predictions


@pytest.fixture
def make_predictions() -> Callable[..., pd.DataFrame]:
    """Balanced predictions of one role: as many images, classes and lesions as a test of the scores wants."""

    def make(images=200, role="selection", *, classes=CLASSES, seed=0, skill=2.0, per_lesion=1, prefix=None):
        rng = np.random.default_rng(seed)
        target_N = np.arange(images) // per_lesion % len(classes)
        logits_NC = rng.normal(size=(images, len(classes)))
        logits_NC[np.arange(images), target_N] += skill
        p_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
        prefix = role if prefix is None else prefix
        frame = pd.DataFrame(p_NC, columns=[f"p_{code}" for code in classes])
        return frame.assign(
            image_id=[f"{prefix}_{number}" for number in range(images)],
            lesion_id=[f"{prefix}_lesion_{number // per_lesion}" for number in range(images)],
            role=role,
            target=[classes[index] for index in target_N],
            age=rng.choice([25.0, 50.0, 80.0, np.nan], size=images),
            sex=rng.choice(["female", "male", "unknown"], size=images, p=[0.48, 0.48, 0.04]),
            site=rng.choice(["back", "face", "unknown"], size=images),
            dx_type=rng.choice(["histo", "follow_up"], size=images),
        )

    return make
