"""A diagnosis that nothing was trained on, and out-of-distribution scores that may detect it ([4]).

One class after the other is left out of what is fitted. The images of a fold are scored by what was fitted
on the others: those of the class left out are out-of-distribution. The network is either one of ImageNet,
frozen, or trained on all classes but the one (`related.unseen_networks`), so no weight of it has seen the
class. The deep isolation forest looks at all of its stages, the others at the last.

    forest        deep isolation forest, `related.isolation`
    probability   1 less the highest probability of the softmax (MSP)
    energy        −ln Σ exp of the logits
    mahalanobis   least distance to a class mean, one covariance for all classes
    nearest       distance to the fifth nearest training image
    odin          as probability, softened, after a step of the image; of a trained network alone, as the step
                  goes back through it

Shapes: N images, F features of a stage, C classes, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from dermlens import metrics
from dermlens.data.predictions import write_csv
from dermlens.evaluation.intervals import Place, estimate, resamples_of
from dermlens.metrics import Bools, Floats, Ints
from dermlens.sections import EvaluationConfig
from paper.study import read_published
from related.isolation import DeepIsolationForest

LEFT_OUT = ("df", "vasc", "akiec")
"""As rare as what a clinic has not seen; those that the article leaves out were not found."""
METHODS = ("forest", "probability", "energy", "mahalanobis", "nearest")
"""Of a frozen network."""
TRAINED_METHODS = (*METHODS, "odin")
"""Of a trained one."""
MEASURES = ("auroc", "aupr", "fpr95")
NEIGHBOURS, DIGITS = 5, 6
SCORES, TABLE = "scores.csv.gz", "table.csv"
UNSEEN, UNSEEN_TRAINED = "unseen", "unseen_trained"
"""Published folders, of a frozen network and of trained ones."""
COLUMNS = ("image_id", "lesion_id", "target", "fold", "left_out")
"""Of a table of scores, before a column a method."""


def ood_scores(
    stages: Sequence[Floats], trains_N: Bools, target_N: Ints, scored_N: Bools, *, seed: int = 0
) -> dict[str, Floats]:
    """score_M of the scored images by every method, higher for what is less like the training images.

    The softmax is that of a linear head, fitted on the last stage.

    Args:
        stages: features_NF of each stage of a network, the last one last.
        trains_N: what is fitted on.
        target_N: classes; only those of what trains are looked at.
        scored_N: what is scored.
        seed: of the forests.
    """
    scaler = StandardScaler().fit(stages[-1][trains_N])
    head = LogisticRegression(C=0.01, max_iter=200)
    head.fit(scaler.transform(stages[-1][trains_N]), target_N[trains_N])
    logits_MC = scaler.transform(stages[-1][scored_N]) @ head.coef_.T + head.intercept_
    if logits_MC.shape[1] == 1:  # of two classes the first has a logit of 0
        logits_MC = np.concatenate([np.zeros_like(logits_MC), logits_MC], axis=1)
    return of_logits(logits_MC) | of_features(stages, trains_N, target_N, scored_N, seed=seed)


def of_logits(logits_MC: Floats) -> dict[str, Floats]:
    """score_M of the methods that look at the logits of the classes that trained."""
    total_M = logsumexp(logits_MC, axis=1)
    return {"probability": 1 - np.exp(logits_MC.max(axis=1) - total_M), "energy": -total_M}


def of_features(
    stages: Sequence[Floats], trains_N: Bools, target_N: Ints, scored_N: Bools, *, seed: int = 0
) -> dict[str, Floats]:
    """score_M of the methods that look at features; arguments as of `ood_scores`."""
    train, scored = ([stage[rows] for stage in stages] for rows in (trains_N, scored_N))
    scaler = StandardScaler().fit(train[-1])
    near_NF, far_MF, y_N = scaler.transform(train[-1]), scaler.transform(scored[-1]), target_N[trains_N]
    neighbours = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(near_NF)
    return {
        "forest": DeepIsolationForest(seed=seed).fit(train, y_N).scores(scored),
        "mahalanobis": mahalanobis(near_NF, y_N, far_MF),
        "nearest": neighbours.kneighbors(far_MF)[0][:, -1],
    }


def mahalanobis(train_NF: Floats, target_N: Ints, scored_MF: Floats) -> Floats:
    """Min over classes of (f − μ_c)ᵀΣ⁻¹(f − μ_c), Σ of what is left of all classes (Lee et al. 2018).

    A thousandth of its mean variance is added to each of Σ, which may have no inverse.
    """
    classes = np.unique(target_N)
    mean_CF = np.stack([train_NF[target_N == one].mean(axis=0) for one in classes])
    left_NF = train_NF - mean_CF[np.searchsorted(classes, target_N)]
    covariance_FF = left_NF.T @ left_NF / len(left_NF)
    covariance_FF += 1e-3 * np.trace(covariance_FF) / len(covariance_FF) * np.eye(len(covariance_FF))
    root_FF = np.linalg.cholesky(np.linalg.inv(covariance_FF))
    away_MCF = (scored_MF[:, None] - mean_CF) @ root_FF
    return np.asarray((away_MCF**2).sum(axis=2).min(axis=1))


def detection(unseen_N: Bools, score_N: Floats, weights: Floats | None = None) -> dict[str, Floats]:
    """How well a score detects images of an unseen class, each measure with the axes of the weights.

    Returns:
        `auroc`; `aupr`, images of the unseen class being the positives; `fpr95`, the share of the others that
        is flagged by the highest threshold that flags 95 % of the unseen class.
    """
    ranked = metrics.ranking(unseen_N, score_N, weights)
    short = (ranked.tp < 0.95 * ranked.tp[..., -1:] - 1e-9).sum(axis=-1)
    flagged = np.take_along_axis(ranked.fp, np.asarray(short)[..., None], axis=-1)[..., 0]
    return {
        "auroc": ranked.auc,
        "aupr": ranked.average_precision,
        "fpr95": np.asarray(flagged / ranked.fp[..., -1]),
    }


def unseen_table(scores: pd.DataFrame, config: EvaluationConfig) -> pd.DataFrame:
    """MEASURES of every class left out and every method, with intervals over lesions.

    Args:
        scores: `image_id`, `lesion_id`, `target`, `fold`, `left_out` and a column a method, one row an image
            and class left out, all folds together.
        config: of the bootstrap.
    """
    methods, rows = methods_of(scores), []
    for left_out, part in scores.groupby("left_out", sort=False):
        unseen_N = (part["target"] == left_out).to_numpy(dtype=bool)
        resamples = resamples_of(part, unseen_N.astype(np.int64), config)

        def statistic(
            weights: Floats | None, part: pd.DataFrame = part, unseen_N: NDArray[np.bool_] = unseen_N
        ) -> dict[Place, Floats]:
            return {
                (method, measure): value
                for method in methods
                for measure, value in detection(unseen_N, part[method].to_numpy(float), weights).items()
            }

        found = estimate(statistic, resamples, level=config.level)
        rows += [
            {"left_out": left_out, "method": method, "measure": measure, **found[method, measure]}
            | {"unseen": int(unseen_N.sum()), "seen": int((~unseen_N).sum())}
            | {"folds": part["fold"].nunique()}
            for method in methods
            for measure in MEASURES
        ]
    return pd.DataFrame(rows)


def methods_of(scores: pd.DataFrame) -> list[str]:
    """The methods that a table of scores has columns of."""
    return [method for method in TRAINED_METHODS if method in scores]


def publish_unseen(scores: pd.DataFrame, folder: Path) -> None:
    """Write the scores by image id, from which the table is computed again."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = scores.sort_values(["left_out", "image_id"], ignore_index=True)
    write_csv(folder / SCORES, ordered[[*COLUMNS, *methods_of(scores)]], digits=DIGITS)


def write_unseen_table(folder: Path, config: EvaluationConfig) -> pd.DataFrame:
    """The table of what is published, written beside it. Raises: UserError: the scores are damaged."""
    scores = read_published(folder / SCORES, [*COLUMNS, *METHODS], METHODS)
    table = unseen_table(scores, config)
    write_csv(folder / TABLE, table, digits=DIGITS)
    return table
