"""Whether a calibration error is more than chance, and which way the probabilities err.

The expected calibration error of a model whose probabilities are exactly right is above 0, because each bin
holds few images: `ece_by_chance` draws right and wrong from the probabilities themselves and says how large
it would be. A measured error within that band shows no miscalibration, which is not the same as there being
none.

`line` says which way the highest probability errs (Cox 1958; Van Calster et al. 2019). With x its log odds:

    slope       b of logit P(right) = a + b·x. Below 1 the model is too sure, above 1 not sure enough.
    intercept   a of logit P(right) = a + x. Below 0 the probabilities are too high on the whole.

Shapes: N images, R draws, `...` the leading axes of the weights.
"""

from __future__ import annotations

import numpy as np

from dermlens.evaluation.calibration import BINS, bin_of
from dermlens.evaluation.intervals import BLOCK
from dermlens.metrics import Bools, Floats

CLIP = 1e-6
"""Log odds are taken of probabilities this far from 0 and 1 at least."""
STEPS, CLOSE = 50, 1e-9


def ece_by_chance(
    p_NC: Floats, *, draws: int, seed: int, level: float, bins: int = BINS
) -> dict[str, float | None]:
    """The calibration error that chance alone gives, were every probability exactly right.

    Args:
        p_NC: probabilities; only the highest of each image counts.
        draws: R, how often right and wrong are drawn; 0 for none.
        seed: of the draws.
        level: 0.95 for the 2.5th and 97.5th percentile.
        bins: as for `ece`.

    Returns:
        mean, low and high; null without draws or images.
    """
    images = len(p_NC)
    if not draws or not images:
        return {"mean": None, "low": None, "high": None}
    p_N = p_NC.max(axis=1)
    inside_NB = (bin_of(p_NC, bins)[:, None] == np.arange(bins)).astype(np.float64)
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, draws, BLOCK):
        right_RN = rng.random((min(BLOCK, draws - start), images)) < p_N
        found.append(np.abs((right_RN - p_N) @ inside_NB).sum(axis=1) / images)
    ece_R = np.concatenate(found)
    low, high = np.quantile(ece_R, [(1 - level) / 2, (1 + level) / 2])
    return {"mean": float(ece_R.mean()), "low": float(low), "high": float(high)}


def line(right_N: Bools, p_N: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Slope and intercept, each (...); NaN where all images are right or none, or the fit has no end.

    Args:
        right_N: what came true.
        p_N: its stated probability.
        weights: (..., N); none for ones.
    """
    p = np.clip(p_N, CLIP, 1 - CLIP)
    x_N = np.log(p / (1 - p))
    w = np.ones(len(x_N)) if weights is None else np.asarray(weights, dtype=np.float64)
    y_N = right_N.astype(np.float64)
    slope = _fit(x_N, y_N, w, slope=True)
    return slope, _fit(x_N, y_N, w, slope=False)


def _fit(x_N: Floats, y_N: Floats, w: Floats, *, slope: bool) -> Floats:
    """Logistic regression by Newton's method: the slope, or with the slope kept at 1 the intercept."""
    a, b = np.zeros(w.shape[:-1]), np.ones(w.shape[:-1])
    moved = np.full(w.shape[:-1], np.inf)
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            p = 1 / (1 + np.exp(-(a[..., None] + b[..., None] * x_N)))
            v = w * p * (1 - p)
            rest = w * (y_N - p)
            g0, h00 = rest.sum(axis=-1), v.sum(axis=-1)
            if slope:
                g1 = rest @ x_N
                h01, h11 = v @ x_N, v @ x_N**2
                determinant = h00 * h11 - h01**2
                da, db = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
            else:
                da, db = g0 / h00, np.zeros_like(g0)
            a, b = a + da, b + db
            moved = np.abs(da) + np.abs(db)
            if not (moved > CLOSE).any():
                break
    found = b if slope else a
    return np.where(moved <= CLOSE, found, np.nan)
