"""Tell dermoscopy from other pictures: fitted and measured on pictures of both kinds.

Shapes: N images, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermlens.calibration.decision import label_outputs, run_outputs
from dermlens.calibration.labelled import lesion_folds
from dermlens.data.predictions import write_table
from dermlens.errors import UserError
from dermlens.metrics import Bools, Floats, Ints
from dermlens.models.saved import save_dermoscopy
from dermlens.predict.document import Dermoscopy
from dermlens.predict.pictures.preprocessing import ViewsConfig
from dermlens.runs import Run

# Fit what tells dermoscopy from other pictures, and measure it on pictures that it has not seen.


FOLDS = 5
PENALTY = 0.02
"""λ of: mean loss + λ/2 · the sum of squared weights, of features of variance one."""
REPLICATES = 1000
DIGITS = 6
"""Of a weight in model.json."""


@dataclass(frozen=True, slots=True)
class Features:
    """The pictures of a set.

    Attributes:
        features_ND: what the network sees in each, the metadata's part left out.
        lesion_N: any names of lesions, or of whatever pictures have in common.
    """

    features_ND: NDArray[np.floating]
    lesion_N: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Sets:
    """Sets of pictures in one row, each set weighing as much as any other on its side, the sides alike."""

    x_ND: NDArray[np.floating]
    is_dermoscopy_N: Bools
    set_N: Ints
    lesion_N: NDArray[np.str_]

    @classmethod
    def of(cls, dermoscopic: Mapping[str, Features], other: Mapping[str, Features]) -> Sets:
        """Join them: dermoscopic ones first, each side in its order."""
        sets = [*dermoscopic.values(), *other.values()]
        counts = [len(one.lesion_N) for one in sets]
        return cls(
            np.concatenate([one.features_ND for one in sets]),
            np.repeat(np.arange(len(sets)) < len(dermoscopic), counts),
            np.repeat(np.arange(len(sets)), counts),
            np.concatenate([one.lesion_N for one in sets]).astype(str),
        )

    def part(self, rows: Ints | Bools) -> Sets:
        """Some of the pictures."""
        return Sets(self.x_ND[rows], self.is_dermoscopy_N[rows], self.set_N[rows], self.lesion_N[rows])

    def weights(self) -> Floats:
        """Of each picture, (N,), of mean 1."""
        count = np.bincount(self.set_N)[self.set_N]
        sides = np.array([len(np.unique(self.set_N[self.is_dermoscopy_N == side])) for side in (False, True)])
        weight_N = 1 / (count * sides[self.is_dermoscopy_N.astype(np.int64)])
        return np.asarray(weight_N / weight_N.mean())


def fit_dermoscopy(
    dermoscopic: Mapping[str, Features],
    other: Mapping[str, Features],
    *,
    kept: float = 0.98,
    penalty: float = PENALTY,
) -> tuple[Dermoscopy, pd.DataFrame]:
    """Fit a boundary, and judge each picture by one that was fitted without its lesion.

    Args:
        dermoscopic: pictures by the name of their set, of lesions that the network was not trained on.
        other: likewise, pictures that are no dermoscopy.
        kept: share of dermoscopic pictures that shall be taken for such, each set counting alike.
        penalty: as `PENALTY`.

    Returns:
        What goes into model.json; and a row a set: `set`, `dermoscopy` (yes or no), `images`, `lesions`,
        `taken`, the share that is taken for dermoscopy by a boundary that was fitted without the picture's
        lesion, `low` and `high`, its 95 % interval over lesions, and `taken_unseen`, the share by a boundary
        that was fitted without the whole set; NaN where it is alone on its side. Where the boundary stands
        is chosen by the same scores: of dermoscopy `kept` is taken on the average of the sets.

    Raises:
        ValueError: a side has no set.
    """
    if not dermoscopic or not other:
        raise ValueError("a boundary has two sides")
    joined = Sets.of(dermoscopic, other)
    weight_D, bias, score_N = _placed(joined, kept, penalty)
    rows = []
    for index, (name, seen) in enumerate({**dermoscopic, **other}.items()):
        of_set_N = joined.set_N == index
        side = index < len(dermoscopic)
        unseen = np.nan
        if len(dermoscopic if side else other) > 1:
            rest_D, rest_bias, _ = _placed(joined.part(~of_set_N), kept, penalty)
            unseen = float((seen.features_ND @ rest_D + rest_bias >= 0).mean())
        rows.append(
            {
                "set": name,
                "dermoscopy": "yes" if side else "no",
                "images": len(seen.lesion_N),
                "lesions": len(np.unique(seen.lesion_N)),
                **_share(score_N[of_set_N] >= 0, seen.lesion_N),
                "taken_unseen": unseen,
            }
        )
    found = Dermoscopy(
        weights=tuple(float(f"{weight:.{DIGITS}g}") for weight in weight_D),
        bias=float(f"{bias:.{DIGITS}g}"),
        kept=kept,
        dermoscopic={name: len(seen.lesion_N) for name, seen in dermoscopic.items()},
        other={name: len(seen.lesion_N) for name, seen in other.items()},
    )
    return found, pd.DataFrame(rows)


def _share(taken_N: Bools, lesion_N: NDArray[np.str_]) -> dict[str, float]:
    """The share that is taken, and its interval over lesions by the bootstrap."""
    _, index_N = np.unique(lesion_N, return_inverse=True)
    images_L, taken_L = np.bincount(index_N), np.bincount(index_N, weights=taken_N)
    drawn_RL = np.random.default_rng(0).integers(0, len(images_L), (REPLICATES, len(images_L)))
    low, high = np.quantile(taken_L[drawn_RL].sum(axis=1) / images_L[drawn_RL].sum(axis=1), [0.025, 0.975])
    return {"taken": float(taken_N.mean()), "low": float(low), "high": float(high)}


def _placed(joined: Sets, kept: float, penalty: float) -> tuple[Floats, float, Floats]:
    """A boundary with the share of dermoscopic pictures above it, and their scores without their lesions."""
    score_N = np.empty(len(joined.lesion_N))
    for fitted_on, judged in lesion_folds(joined.set_N, joined.lesion_N, folds=FOLDS, seed=0):
        weight_D, bias = _boundary(joined.part(fitted_on), penalty)
        score_N[judged] = joined.x_ND[judged] @ weight_D + bias
    is_dermoscopy_N = joined.is_dermoscopy_N
    least = _quantile(score_N[is_dermoscopy_N], joined.weights()[is_dermoscopy_N], 1 - kept)
    weight_D, bias = _boundary(joined, penalty)
    return weight_D, bias - least, score_N - least


def _boundary(joined: Sets, penalty: float) -> tuple[Floats, float]:
    """Weights and bias for features as they are."""
    scale = StandardScaler()
    fit = LogisticRegression(C=1 / (penalty * len(joined.lesion_N)), max_iter=1000)
    model = make_pipeline(scale, fit)
    model.fit(joined.x_ND, joined.is_dermoscopy_N, logisticregression__sample_weight=joined.weights())
    weight_D = fit.coef_[0] / scale.scale_
    return weight_D, float(fit.intercept_[0] - weight_D @ scale.mean_)


def _quantile(value_N: Floats, weight_N: Floats, share: float) -> float:
    """The largest value that leaves no more than a share of the weight below it."""
    order_N = np.argsort(value_N)
    below_N = np.concatenate([[0.0], np.cumsum(weight_N[order_N])[:-1]])
    return float(value_N[order_N][np.flatnonzero(below_N <= share * weight_N.sum())[-1]])


# Teach a run's model to tell dermoscopy from other pictures, by pictures of both kinds.


OWN = "own"
"""The set of the run's own images that it was not trained on."""
ROLES = ("selection", "calibration")
MOST = 0.5
"""The largest share of a set of other pictures that a boundary of any use takes for dermoscopy."""
STALE = ("model_card.md", "report.html")
"""What tells of the boundary before."""


def learn_dermoscopy(
    run: Run,
    dermoscopic: Mapping[str, pd.DataFrame],
    other: Mapping[str, pd.DataFrame],
    *,
    kept: float,
    data: Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
) -> pd.DataFrame:
    """Fit the boundary, write it into the run's model.json, and what was measured into dermoscopy.csv.

    The run's images of the selection and calibration roles stand for dermoscopy, beside the sets that are
    given. Diagnoses, ages, sexes and sites are not looked at.

    Args:
        run: a completed run.
        dermoscopic: LesionTables of dermoscopy from elsewhere, by the name of the set; may be empty.
        other: likewise, of pictures that are none; at least one.
        kept: share of dermoscopic pictures that shall be taken for such.
        data: where the run's own images are now; none takes the folder that it was trained on.
        device: auto, cpu, cuda or mps.
        cache: root of the pixel cache; none for the usual one.

    Returns:
        The rows of `fit_dermoscopy`.

    Raises:
        UserError: no set of other pictures, one with too few, two of one name, one that holds images of the
            run's split, the split lacks a role, images are not there, or the boundary would be of no use; the
            run is as it was then.
    """
    if not other:
        raise UserError(
            "no pictures that are no dermoscopy: name a folder of them with --other NAME=DIR, or"
            " --photographs DIR"
        )
    if twice := {OWN, *dermoscopic} & {*other} or {OWN} & {*dermoscopic}:
        raise UserError(f"two sets are named {min(twice)}; {OWN} is that of the run itself")
    for name, table in {**dermoscopic, **other}.items():
        if table["lesion_id"].nunique() < FOLDS:
            raise UserError(f"set {name} has {table['lesion_id'].nunique()} lesions; {FOLDS} are the fewest")
    split = set(run.split().roles["image_id"])
    for name, table in {**dermoscopic, **other}.items():
        if len(shared := sorted(split & {*table["image_id"]})):
            raise UserError(
                f"set {name} holds {len(shared)} images of the run's own split, {shared[0]} first"
            )
    saved = replace(run.model(), views=ViewsConfig())  # features are of the image as it is
    roles = run_outputs(run, saved, ROLES, data=data, device=device, cache=cache).values()
    own = Features(
        np.concatenate([one.labelled.features_ND for one in roles]),
        np.concatenate([one.labelled.lesion_N for one in roles]),
    )

    def seen(table: pd.DataFrame) -> Features:
        found = label_outputs(saved, table, device=device, cache=cache)
        return Features(found.features_ND, found.lesion_N)

    known = {OWN: own} | {name: seen(table) for name, table in dermoscopic.items()}
    found, rows = fit_dermoscopy(known, {name: seen(table) for name, table in other.items()}, kept=kept)
    worst = rows[rows["dermoscopy"] == "no"].sort_values("taken").iloc[-1]
    if worst["taken"] > MOST:
        raise UserError(
            f"nothing was learnt: {100 * worst['taken']:.0f} % of set {worst['set']} would be taken for"
            " dermoscopy. Is it none, and are there enough of such pictures? Or let less dermoscopy be"
            f" kept than {100 * kept:g} %"
        )
    for name in STALE:
        (run.path / name).unlink(missing_ok=True)
    write_table(run.dermoscopy_file, rows)
    save_dermoscopy(run.path, found)
    return rows
