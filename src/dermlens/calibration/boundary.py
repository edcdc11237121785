"""The boundary between dermoscopy and other pictures, and what dermoscopy is like: fitted on features.

Shapes: N images, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermlens.calibration.probabilities import lesion_folds
from dermlens.metrics import Bools, Floats, Ints
from dermlens.predict.document import Dermoscopy, Typical

FOLDS = 5
PENALTY = 0.05
"""λ of: mean loss + λ/2 · the sum of squared weights, of features of variance one. Once varied pictures are
shown, of 0.02, 0.05, 0.2 and 1 it matters little to a clinic that took no part."""
DIRECTIONS = 16
"""Of the largest variance among dermoscopy; all others are given an equal one."""
BROADER = 0.5
"""Added to each variance of dermoscopy, 1 in the mean: other clinics differ more."""
REPLICATES = 1000
DIGITS, FEW_DIGITS = 6, 4
"""Of a weight in model.json, and of what dermoscopy is like."""
GREYSCALE = ", greyscale"
"""Ends the name of a set that holds the pictures of another one without their colours."""
VARIED = ", varied"
"""Ends the name of a set that holds the pictures of another one as other clinics may take them."""


@dataclass(frozen=True, slots=True)
class Features:
    """The pictures of a set.

    Attributes:
        features_ND: what the network sees in each: means and deviations of the channels of an early map.
        lesion_N: any names of lesions, or of whatever pictures have in common.
    """

    features_ND: NDArray[np.floating]
    lesion_N: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Sets:
    """Sets of pictures in one row, each set weighing as much as any other on its side, the sides alike.

    Attributes:
        x_ND: features.
        is_dermoscopy_N: the side.
        set_N: numbers of the sets, in their order.
        source_N: numbers of where pictures are from: a set and its copies have one.
        lesion_N: as in `Features`.
    """

    x_ND: NDArray[np.floating]
    is_dermoscopy_N: Bools
    set_N: Ints
    source_N: Ints
    lesion_N: NDArray[np.str_]

    @classmethod
    def of(cls, dermoscopic: Mapping[str, Features], other: Mapping[str, Features]) -> Sets:
        """Join them: dermoscopic ones first, each side in its order."""
        sets = [*dermoscopic.values(), *other.values()]
        counts = [len(one.lesion_N) for one in sets]
        names = [original(name) for name in (*dermoscopic, *other)]
        return cls(
            np.concatenate([one.features_ND for one in sets]),
            np.repeat(np.arange(len(sets)) < len(dermoscopic), counts),
            np.repeat(np.arange(len(sets)), counts),
            np.repeat([names.index(name) for name in names], counts),
            np.concatenate([one.lesion_N for one in sets]).astype(str),
        )

    def part(self, rows: Ints | Bools) -> Sets:
        """Some of the pictures."""
        return Sets(*(getattr(self, one.name)[rows] for one in fields(self)))

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
    layer: str = "",
) -> tuple[Dermoscopy, pd.DataFrame]:
    """Fit a boundary and place it where dermoscopy is kept, of these clinics and of others.

    Each set of dermoscopy keeps its share, each picture judged by a boundary that was fitted without its
    lesion. A clinic that nobody has seen has to pass, too. So each set is also judged by a boundary that was
    fitted without its source, and the boundary stands no higher than where every set has its share that way,
    but for sets so small that the share is less than a picture. What is too far from all dermoscopy to be any
    is told by `Typical`, which is shown nothing else; it may turn away half as many. A set whose name ends in
    `GREYSCALE` or `VARIED` is of the source that the rest of its name says.

    Args:
        dermoscopic: pictures by the name of their set, of lesions that the network was not trained on.
        other: pictures that are no dermoscopy, by the name of their set.
        kept: share of dermoscopic pictures that shall be taken for such, in every set.
        penalty: as `PENALTY`.
        layer: of the backbone that the features are of, as in `Dermoscopy`.

    Returns:
        What goes into model.json; and a row a set: `set`, `dermoscopy` (yes or no), `images`, `lesions`,
        `taken`, the share that is taken for dermoscopy by a boundary that was fitted without the picture's
        lesion, `low` and `high`, its 95 % interval over lesions, and `taken_unseen`, the share by a boundary
        that was fitted and placed without its source; NaN where that is alone on its side.

    Raises:
        ValueError: a side has no set.
    """
    if not dermoscopic or not other:
        raise ValueError("a boundary has two sides")
    joined = Sets.of(dermoscopic, other)
    fitted = _Fitted(joined, penalty, kept)
    whole = fitted.look(fitted.all)
    place = fitted.on(fitted.all)[1] - whole.bias
    taken_N = _out_of_fold(joined, penalty) >= place
    taken_N &= _distances_out_of_fold(joined) <= whole.typical.farthest
    rows = []
    for index, (name, seen) in enumerate({**dermoscopic, **other}.items()):
        rest = fitted.without_source(fitted.all, index)
        judged = fitted.has_both_sides(rest)
        rows.append(
            {
                "set": name,
                "dermoscopy": "yes" if index < len(dermoscopic) else "no",
                "images": len(seen.lesion_N),
                "lesions": len(np.unique(seen.lesion_N)),
                **_share(taken_N[joined.set_N == index], seen.lesion_N),
                "taken_unseen": float(fitted.look(rest).takes(seen.features_ND).mean()) if judged else np.nan,
            }
        )
    found = Dermoscopy(
        weights=_rounded(whole.weight_D, DIGITS),
        bias=float(f"{whole.bias:.{DIGITS}g}"),
        layer=layer,
        kept=kept,
        typical=whole.typical,
        dermoscopic=_counts(dermoscopic),
        other=_counts(other),
    )
    return found, pd.DataFrame(rows)


def fit_typical(joined: Sets, kept: float) -> Typical:
    """What dermoscopy is like, and how far from it a picture may be.

    A picture may be as far as pictures of a source that took no part: in each set of dermoscopy all but half
    of 1 − `kept` are nearer, but for sets so small that this is less than a picture. Where there is one
    source, lesions that took no part stand for it.

    Args:
        joined: sets, those of dermoscopy are looked at.
        kept: as for `fit_dermoscopy`.
    """
    own = joined.part(joined.is_dermoscopy_N)
    if len(np.unique(own.source_N)) > 1:
        squared_N = np.empty(len(own.lesion_N))
        for source in np.unique(own.source_N):
            held_N = own.source_N == source
            squared_N[held_N] = _typical(own.x_ND[~held_N]).distances(own.x_ND[held_N])
    else:
        squared_N = _distances_out_of_fold(own)
    share = (1 - kept) / 2
    sets = [squared_N[own.set_N == one] for one in np.unique(own.set_N)]
    large = [one for one in sets if len(one) * share >= 1] or [squared_N]
    return _typical(own.x_ND, max(-_least(-one, share) for one in large))


def _distances_out_of_fold(joined: Sets) -> Floats:
    """Each picture's squared distance from dermoscopy that has none of its lesion, (N,)."""
    squared_N = np.empty(len(joined.lesion_N))
    for fitted_on, judged in lesion_folds(joined.source_N, joined.lesion_N, folds=FOLDS, seed=0):
        part = joined.part(fitted_on)
        squared_N[judged] = _typical(part.x_ND[part.is_dermoscopy_N]).distances(joined.x_ND[judged])
    return squared_N


def _typical(x_ND: NDArray[np.floating], farthest: float = 1.0) -> Typical:
    mean_D, scale_D = x_ND.mean(axis=0), x_ND.std(axis=0)
    scale_D = np.maximum(scale_D, 1e-3 * scale_D.mean() + 1e-9)  # a channel may be the same in all of them
    z_ND = (x_ND - mean_D) / scale_D
    variance_D, direction_DD = np.linalg.eigh(z_ND.T @ z_ND / len(z_ND))
    variance_D, direction_DD = np.maximum(variance_D[::-1], 0) + BROADER, direction_DD[:, ::-1]
    few = min(DIRECTIONS, len(variance_D) - 1)
    return Typical(
        mean=_rounded(mean_D, FEW_DIGITS),
        scale=_rounded(scale_D, FEW_DIGITS),
        directions=tuple(_rounded(row_D, FEW_DIGITS) for row_D in direction_DD[:, :few].T),
        variances=_rounded(variance_D[:few], FEW_DIGITS),
        rest=float(variance_D[few:].mean()),
        farthest=farthest,
    )


def _rounded(value_D: NDArray[np.floating], digits: int) -> tuple[float, ...]:
    return tuple(float(f"{value:.{digits}g}") for value in value_D)


def _counts(sets: Mapping[str, Features]) -> dict[str, int]:
    """Pictures of each set that was given; not of its copies."""
    return {name: len(one.lesion_N) for name, one in sets.items() if original(name) == name}


def original(name: str) -> str:
    """The set that a set holds the pictures of: itself, or of which it is a greyscale or varied copy."""
    return name.removesuffix(GREYSCALE).removesuffix(VARIED)


class _Look(NamedTuple):
    """A boundary in its place, and what dermoscopy is like."""

    weight_D: Floats
    bias: float
    typical: Typical

    def takes(self, x_ND: NDArray[np.floating]) -> Bools:
        """Which pictures are taken for dermoscopy, (N,)."""
        near_N = self.typical.distances(x_ND) <= self.typical.farthest
        return np.asarray((x_ND @ self.weight_D + self.bias >= 0) & near_N)


class _Fitted:
    """What was fitted, by the sets that it was fitted on: once each."""

    def __init__(self, joined: Sets, penalty: float, kept: float) -> None:
        self.joined, self.penalty, self.kept = joined, penalty, kept
        first = np.unique(joined.set_N, return_index=True)[1]
        self.side_S, self.source_S = joined.is_dermoscopy_N[first], joined.source_N[first]
        self.all = frozenset(range(len(first)))
        self._found: dict[frozenset[int], tuple[Floats, float]] = {}
        self._looks: dict[frozenset[int], _Look] = {}

    def without_source(self, sets: frozenset[int], index: int) -> frozenset[int]:
        """Those of the sets that are not of one's source."""
        return frozenset(one for one in sets if self.source_S[one] != self.source_S[index])

    def has_both_sides(self, sets: frozenset[int]) -> bool:
        """Whether there is dermoscopy among them, and something else."""
        return len({bool(self.side_S[one]) for one in sets}) == 2

    def look(self, sets: frozenset[int]) -> _Look:
        """Both looks, fitted on some of the sets and placed by the same sets."""
        if sets not in self._looks:
            weight_D, bias = self.on(sets)
            typical = fit_typical(self._part(sets), self.kept)
            self._looks[sets] = _Look(weight_D, bias - self._place(sets), typical)
        return self._looks[sets]

    def _part(self, sets: frozenset[int]) -> Sets:
        return self.joined.part(np.isin(self.joined.set_N, sorted(sets)))

    def _place(self, sets: frozenset[int]) -> float:
        """The score above which `kept` of each set of dermoscopy lies, were they new, too."""
        own = [index for index in sorted(sets) if self.side_S[index]]
        part = self._part(sets)
        score_N = _out_of_fold(part, self.penalty)
        least = min(_least(score_N[part.set_N == index], 1 - self.kept) for index in own)
        if not self.has_both_sides(self.without_source(sets, own[0])):
            return least
        unseen = []
        # of fewer pictures the share that may go is less than one, and the least of them would decide
        for index in (one for one in own if np.sum(part.set_N == one) * (1 - self.kept) >= 1):
            weight_D, bias = self.on(self.without_source(sets, index))
            unseen.append(
                _least(self.joined.x_ND[self.joined.set_N == index] @ weight_D + bias, 1 - self.kept)
            )
        return min(least, *unseen)

    def on(self, sets: frozenset[int]) -> tuple[Floats, float]:
        """Weights and bias of a boundary on some of the sets, not placed yet."""
        if sets not in self._found:
            self._found[sets] = _boundary(self._part(sets), self.penalty)
        return self._found[sets]


def _share(taken_N: Bools, lesion_N: NDArray[np.str_]) -> dict[str, float]:
    """The share that is taken, and its interval over lesions by the bootstrap."""
    _, index_N = np.unique(lesion_N, return_inverse=True)
    images_L, taken_L = np.bincount(index_N), np.bincount(index_N, weights=taken_N)
    drawn_RL = np.random.default_rng(0).integers(0, len(images_L), (REPLICATES, len(images_L)))
    low, high = np.quantile(taken_L[drawn_RL].sum(axis=1) / images_L[drawn_RL].sum(axis=1), [0.025, 0.975])
    return {"taken": float(taken_N.mean()), "low": float(low), "high": float(high)}


def _out_of_fold(joined: Sets, penalty: float) -> Floats:
    """Each picture's score by a boundary that was fitted without its lesion, (N,)."""
    score_N = np.empty(len(joined.lesion_N))
    for fitted_on, judged in lesion_folds(joined.source_N, joined.lesion_N, folds=FOLDS, seed=0):
        weight_D, bias = _boundary(joined.part(fitted_on), penalty)
        score_N[judged] = joined.x_ND[judged] @ weight_D + bias
    return score_N


def _boundary(joined: Sets, penalty: float) -> tuple[Floats, float]:
    """Weights and bias for features as they are."""
    scale = StandardScaler()
    fit = LogisticRegression(C=1 / (penalty * len(joined.lesion_N)), max_iter=1000)
    model = make_pipeline(scale, fit)
    model.fit(joined.x_ND, joined.is_dermoscopy_N, logisticregression__sample_weight=joined.weights())
    weight_D = fit.coef_[0] / scale.scale_
    return weight_D, float(fit.intercept_[0] - weight_D @ scale.mean_)


def _least(score_N: Floats, share: float) -> float:
    """The largest score that leaves no more than a share of them below it."""
    return float(np.sort(score_N)[int(share * len(score_N))])
