"""Contrasts of repeated trainings: five folds, three seeds, a margin, and a verdict that may be *equivalent*.

A difference d is taken in each fold and with each seed, on the same lesions for both networks; D is their
mean. Its variance has two parts:

- other lesions would give other numbers: a bootstrap of lesions, class by class within each fold, with the
  trainings as they are;
- other trainings would, too: the variance of d between the seeds of a fold, over the number of trainings.
  A fold keeps its lesions, so these are not counted twice.

The interval is D ± t · SE with folds · (seeds − 1) degrees of freedom, those of the second part. Next to it
stands the corrected resampled t-test (Nadeau and Bengio 2003), which knows nothing of lesions. *Equivalent*
is what two one-sided tests put within the margin (Schuirmann 1987). Holm's correction is over the contrasts
of a claim.

Shapes: F folds, S seeds, N images, L lesions, R draws, C classes, K kinds of lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from dermlens.data.predictions import classes_of
from dermlens.errors import UserError
from dermlens.metrics import Floats, Ints
from dermlens.studies.folds import FOLD, read_tables
from dermlens.studies.matrix import Matrix, load_matrix
from paper.contrasts import ALPHA, POWER, Measure, holm, named_right

FOLDER = "repeats"
REPLICATES = 10_000
COLUMNS = (
    "claim", "arm", "reference", "measure", "folds", "seeds", "images", "value", "reference_value",
    "difference", "low", "high", "se", "se_lesions", "se_trainings", "freedom", "p_holm",
    "p_equivalent_holm", "low_nadeau_bengio", "high_nadeau_bengio", "margin", "could_see", "can_see",
    "verdict",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Repeated:
    """A contrast, as it was planned.

    Attributes:
        claim: that it belongs to, with which it shares Holm's correction.
        asks: the claim as a question.
        matrix: of its two arms.
        arm: the one that is changed.
        reference: the one that it is compared with.
        measure: the number that decides, of the class of the highest probability.
        margin: within which a difference does not matter.
        expected: the standard error that was expected before the first run.
    """

    claim: str
    asks: str
    matrix: str
    arm: str
    reference: str
    measure: Measure
    margin: float
    expected: float


def load_repeats() -> tuple[Repeated, ...]:
    """The contrasts in the order of the plan."""
    return tuple(
        Repeated(
            one["claim"],
            one["asks"],
            one["matrix"],
            arm,
            reference,
            one["measure"],
            one["margin"],
            one["expected"],
        )
        for one in _plan()["claims"]
        for arm, reference in one["contrasts"]
    )


def planned_seeds() -> tuple[int, ...]:
    """The seeds of each training."""
    return tuple(_plan()["seeds"])


def folder_of(matrix: str, seed: int) -> str:
    """Where the arms of a matrix with a seed lie, in the working folder and in what is published."""
    return f"{FOLDER}/{matrix}/seed-{seed}"


def load_repeated_matrix(name: str, overrides: Sequence[str] = ()) -> Matrix:
    """A matrix of the plan, with overrides such as where weights are."""
    return load_matrix(str(files("paper") / FOLDER / f"{name}.yaml"), overrides)


def repeated_matrices() -> tuple[str, ...]:
    """Their names, each once."""
    return tuple(dict.fromkeys(one.matrix for one in load_repeats()))


def _plan() -> dict[str, Any]:
    text = files("paper").joinpath(f"{FOLDER}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def read_repeats(results: Path, matrix: str, arms: Sequence[str]) -> dict[str, list[pd.DataFrame]]:
    """Out-of-fold predictions of arms, those of the seeds that all of them have.

    Args:
        results: what is published.
        matrix: of the arms.
        arms: names.

    Returns:
        For each arm its tables, seed by seed; empty lists where no seed has all of the arms.

    Raises:
        UserError: a file is damaged, or seeds are not of the same images and folds.
    """
    found: dict[str, list[pd.DataFrame]] = {arm: [] for arm in arms}
    for seed in planned_seeds():
        folder = results / folder_of(matrix, seed)
        if not all((folder / "predictions" / f"{arm}.csv.gz").is_file() for arm in arms):
            continue
        tables = read_tables(folder, arms)
        for arm in arms:
            first = found[arm][0] if found[arm] else tables[arm]
            same = ["image_id", "lesion_id", "target", FOLD]
            if not tables[arm][same].equals(first[same]):
                raise UserError(f"{folder} is of other images or folds than the seeds before it")
            found[arm].append(tables[arm])
    return found


def measure_repeats(results: Path, *, replicates: int = REPLICATES, seed: int = 0) -> pd.DataFrame:
    """Every contrast of which two seeds or more are there.

    Args:
        results: what is published of the study.
        replicates: draws of the bootstrap.
        seed: of the draws.

    Returns:
        A row each, with `COLUMNS`; contrasts of a claim that are not there count as found to be nothing.

    Raises:
        UserError: as for `read_repeats`.
    """
    planned = load_repeats()
    rows = []
    for one in planned:
        tables = read_repeats(results, one.matrix, (one.arm, one.reference))
        if len(tables[one.arm]) > 1:
            rows.append(_row(one, tables[one.arm], tables[one.reference], replicates=replicates, seed=seed))
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    parts = []
    for claim, own in pd.DataFrame(rows).groupby("claim", sort=False):
        family = sum(one.claim == claim for one in planned)
        reach = stats.t.ppf(1 - ALPHA / 2 / family, own["freedom"]) + stats.t.ppf(POWER, own["freedom"])
        own = own.assign(
            p_holm=holm(own["p"].to_numpy(dtype=np.float64), family),
            p_equivalent_holm=holm(own["p_equivalent"].to_numpy(dtype=np.float64), family),
            could_see=reach * own["expected"],
            can_see=reach * own["se"],
        )
        parts.append(own.assign(verdict=[verdict(row) for row in own.to_dict("records")]))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def verdict(row: Any) -> str:
    """*equivalent* within the margin, distinguishable from zero or not; else what can be distinguished."""
    if row["p_equivalent_holm"] < ALPHA:
        return "equivalent"
    if row["p_holm"] >= ALPHA:
        return "undecided"
    return "helps" if row["difference"] > 0 else "hurts"


def _row(
    one: Repeated,
    arm: Sequence[pd.DataFrame],
    reference: Sequence[pd.DataFrame],
    *,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """A contrast before Holm's correction."""
    right_SN, other_SN = (
        np.stack([named_right(one) for one in tables]).astype(float) for tables in (arm, reference)
    )
    first = arm[0]
    classes = classes_of(first)
    target_N = first["target"].map(classes.index).to_numpy(dtype=np.int64)
    fold_N = first[FOLD].to_numpy(dtype=np.int64)
    value_FS = measure_folds(right_SN, target_N, fold_N, one.measure)
    other_FS = measure_folds(other_SN, target_N, fold_N, one.measure)
    lesion_N = first["lesion_id"].to_numpy(dtype=str)
    gain_N = (right_SN - other_SN).mean(axis=0)
    draws_R = draw_differences(
        gain_N, target_N, fold_N, lesion_N, one.measure, replicates=replicates, seed=seed
    )
    d_FS = value_FS - other_FS
    folds, seeds = d_FS.shape
    difference, freedom = float(d_FS.mean()), folds * (seeds - 1)
    between = float(d_FS.var(axis=1, ddof=1).mean() / d_FS.size)
    lesions = float(draws_R.var(ddof=1))
    se = float(np.sqrt(lesions + between))
    t = stats.t(freedom)
    reach = float(t.ppf(1 - ALPHA / 2)) * se
    # n_test / n_train is 1 / (folds − 1) where every lesion is scored once.
    corrected = np.sqrt((1 / d_FS.size + 1 / (folds - 1)) * d_FS.var(ddof=1))
    sensitivity = float(stats.t.ppf(1 - ALPHA / 2, d_FS.size - 1) * corrected)
    upper, lower = (float(t.sf((one.margin - sign * difference) / max(se, 1e-12))) for sign in (1, -1))
    return {
        "claim": one.claim,
        "arm": one.arm,
        "reference": one.reference,
        "measure": one.measure,
        "folds": folds,
        "seeds": seeds,
        "images": len(first),
        "value": float(value_FS.mean()),
        "reference_value": float(other_FS.mean()),
        "difference": difference,
        "low": difference - reach,
        "high": difference + reach,
        "se": se,
        "se_lesions": float(np.sqrt(lesions)),
        "se_trainings": float(np.sqrt(between)),
        "freedom": freedom,
        "p": float(2 * t.sf(abs(difference) / max(se, 1e-12))),
        "p_equivalent": max(upper, lower),
        "low_nadeau_bengio": difference - sensitivity,
        "high_nadeau_bengio": difference + sensitivity,
        "margin": one.margin,
        "expected": one.expected,
    }


def measure_folds(right_SN: Floats, target_N: Ints, fold_N: Ints, measure: Measure) -> Floats:
    """(F, S): accuracy, or mean recall, of each fold and seed."""
    found = []
    for fold in np.unique(fold_N):
        own = fold_N == fold
        parts = [own] if measure == "accuracy" else [own & (target_N == c) for c in np.unique(target_N[own])]
        found.append(np.mean([right_SN[:, part].mean(axis=1) for part in parts], axis=0))
    return np.stack(found)


def draw_differences(
    gain_N: Floats,
    target_N: Ints,
    fold_N: Ints,
    lesion_N: np.ndarray,
    measure: Measure,
    *,
    replicates: int,
    seed: int,
) -> Floats:
    """(R,): the mean difference in draws of lesions, class by class within each fold.

    Args:
        gain_N: how much more often the arm names an image right than the reference, over seeds, −1 … 1.
        target_N: classes.
        fold_N: folds.
        lesion_N: lesions, each in one fold.
        measure: accuracy or mean recall.
        replicates: R.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    folds = np.unique(fold_N)
    found_R = np.zeros(replicates)
    for fold in folds:
        classes = np.unique(target_N[fold_N == fold])
        gained_RC, images_RC = np.zeros((2, replicates, len(classes)))
        for column, label in enumerate(classes):
            own = (fold_N == fold) & (target_N == label)
            lesions, position_N = np.unique(lesion_N[own], return_inverse=True)
            kinds_K2, count_K = np.unique(
                np.stack([np.bincount(position_N, gain_N[own]), np.bincount(position_N)], axis=1).round(9),
                axis=0,
                return_counts=True,
            )
            drawn_RK = rng.multinomial(len(lesions), count_K / len(lesions), size=replicates)
            gained_RC[:, column], images_RC[:, column] = (drawn_RK @ kinds_K2).T
        if measure == "accuracy":
            found_R += gained_RC.sum(axis=1) / images_RC.sum(axis=1)
        else:
            found_R += (gained_RC / images_RC).mean(axis=1)
    return np.asarray(found_R / len(folds))
