"""From scores to a decision: calibrated probabilities, a diagnosis, a set of diagnoses, or abstention.

Shapes: N images, C classes, D features, K directions, M points.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dermlens.errors import UserError
from dermlens.files import atomic_path
from dermlens.metrics import Bools, Floats, Ints
from dermlens.predict.document import DecisionDocument, Scaling

# From logits to probabilities, and from one class prior to another.


def log_softmax(scores_NC: Floats) -> Floats:
    """Log softmax over the classes, in double precision."""
    shifted_NC = scores_NC - scores_NC.max(axis=1, keepdims=True)
    return np.asarray(shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True)))


def scaled(logits_NC: Floats, scaling: Scaling) -> Floats:
    """Calibrated log-probabilities, for the prior that the scaling was fitted for.

    Source: Guo, Pleiss, Sun, Weinberger 2017, section 4.2, for temperature and vector scaling; Alexandari,
    Kundaje, Shrikumar 2020 for a temperature with biases.
    """
    scores_NC = np.asarray(logits_NC, dtype=np.float64) / scaling.temperature
    if scaling.scale is not None:
        scores_NC = scores_NC * np.array(scaling.scale)
    if scaling.bias is not None:
        scores_NC = scores_NC + np.array(scaling.bias)
    return log_softmax(scores_NC)


def shift_prior(log_p_NC: Floats, stated_C: Sequence[float], given_C: Sequence[float]) -> Floats:
    """Log-probabilities under another class prior: p'_c ∝ p_c · given_c / stated_c.

    It supposes that each class looks the same in both populations and only their shares differ. Source:
    Saerens, Latinne, Decaestecker 2002, Eq. 2.4.

    Args:
        log_p_NC: for the stated prior.
        stated_C: class shares that they hold for.
        given_C: class shares of the other population, in any unit: counts do.

    Raises:
        UserError: there is not one positive number for each class.
    """
    given = np.asarray(given_C, dtype=np.float64)
    if given.shape != (len(stated_C),) or not (np.isfinite(given).all() and (given > 0).all()):
        raise UserError(
            f"the prior is {list(given_C)}; it must be {len(stated_C)} positive numbers, one for each class"
        )
    return log_softmax(log_p_NC + np.log(given) - np.log(stated_C))  # logs: a sum of shares may overflow


# How unlike the training images an image is: three scores, higher for stranger.
#
# Of `mahalanobis` and `knn` the arrays are: `center_D`, taken off the features; `project_DK`, onto K ≤ 64
# directions; `points_MK`, the M class means or training images there.


Kind = Literal["energy", "mahalanobis", "knn"]
Arrays = Mapping[str, NDArray[np.float32]]

NAMES = ("center_D", "project_DK", "points_MK")
BLOCK = 1024
"""Images measured together: bounds the memory to BLOCK × M distances."""


def ood_scores(
    kind: Kind,
    logits_NC: Floats,
    features_ND: NDArray[np.floating],
    arrays: Arrays,
    neighbours: int | None = None,
) -> Floats:
    """The score of each image, (N,).

    `energy`: −log Σ_c exp(logit_c) (Liu, Wang, Owens, Li 2020). `mahalanobis`: the squared distance to the
    nearest class mean in directions that are scaled so that the shared covariance is the identity (Lee, Lee,
    Lee, Shin 2018, Eq. 2). `knn`: the distance to the k-th nearest training image, of features of length one
    (Sun, Ming, Zhu, Li 2022).

    Args:
        kind: which.
        logits_NC: before scaling; `energy` reads them alone.
        features_ND: what the last layer sees; `energy` does not look at them.
        arrays: `center_D`, `project_DK`, `points_MK`.
        neighbours: k of `knn`.
    """
    if kind == "energy":
        peak_N = logits_NC.max(axis=1)
        return np.asarray(-(peak_N + np.log(np.exp(logits_NC - peak_N[:, None]).sum(axis=1))))
    nearest = 1 if kind == "mahalanobis" else neighbours
    assert nearest is not None  # the document holds it
    points_MK = arrays["points_MK"].astype(np.float64)
    square_M = (points_MK**2).sum(axis=1)
    scores = []
    for start in range(0, len(features_ND), BLOCK):
        x_BK = project(kind, features_ND[start : start + BLOCK], arrays)
        square_BM = (x_BK**2).sum(axis=1)[:, None] - 2 * x_BK @ points_MK.T + square_M
        square_B = np.partition(square_BM, nearest - 1, axis=1)[:, nearest - 1]
        scores.append(np.maximum(square_B, 0))
    square_N = np.concatenate(scores) if scores else np.empty(0)
    return square_N if kind == "mahalanobis" else np.sqrt(square_N)


def project(kind: Kind, features_ND: NDArray[np.floating], arrays: Arrays) -> Floats:
    """The features where the score measures them, (N, K)."""
    center_D, project_DK = (arrays[name].astype(np.float64) for name in NAMES[:2])
    x_ND = unit(features_ND) if kind == "knn" else np.asarray(features_ND, dtype=np.float64)
    return np.asarray((x_ND - center_D) @ project_DK)


def unit(features_ND: NDArray[np.floating]) -> Floats:
    """Features of length one; zeros stay."""
    x_ND = np.asarray(features_ND, dtype=np.float64)
    length_N = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return np.asarray(np.divide(x_ND, length_N, out=np.zeros_like(x_ND), where=length_N > 0))


# decision.npz: the arrays of an out-of-distribution score; model.json beside it holds its check sum.


DECISION_FILE = "decision.npz"


def pack_arrays(arrays: Arrays) -> bytes:
    """The content of decision.npz; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in NAMES:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:  # without the time of writing
                np.lib.format.write_array(file, np.asarray(arrays[name], np.float32), allow_pickle=False)
    return buffer.getvalue()


def arrays_sha256(arrays: Arrays) -> str:
    """SHA-256 of decision.npz."""
    return hashlib.sha256(pack_arrays(arrays)).hexdigest()


def write_arrays(folder: Path, arrays: Arrays) -> None:
    """Write decision.npz, or take an old one away where there are no arrays."""
    path = folder / DECISION_FILE
    if not arrays:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as part:
        part.write_bytes(pack_arrays(arrays))


def read_arrays(folder: Path, document: DecisionDocument | None) -> dict[str, NDArray[np.float32]]:
    """Read the arrays that a decision needs; none where it needs none.

    Args:
        folder: with model.json.
        document: the decision in it.

    Raises:
        UserError: the file is absent, is not the one that the document was written for, or holds other
            arrays than these.
    """
    if document is None or document.ood is None or document.ood.sha256 is None:
        return {}
    path = folder / DECISION_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist; the decision in model.json beside it needs it")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != document.ood.sha256:
        raise UserError(f"{path} is not the file that model.json beside it was written for")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays = {name: np.asarray(found[name], dtype=np.float32) for name in NAMES}
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} does not hold the arrays {', '.join(NAMES)}: {error}") from error
    if not _fit(arrays, document.ood.neighbours or 1):
        raise UserError(f"{path}: the arrays {', '.join(NAMES)} do not fit each other")
    return arrays


def _fit(arrays: Arrays, neighbours: int) -> bool:
    """Whether the shapes are (D,), (D, K) and (M, K), all finite, with enough points."""
    center, directions, points = (arrays[name] for name in NAMES)
    return bool(
        center.ndim == 1
        and directions.ndim == points.ndim == 2
        and directions.shape == (center.shape[0], points.shape[1])
        and len(points) >= neighbours
        and all(np.isfinite(arrays[name]).all() for name in NAMES)
    )


# The one way from a network's outputs to an answer; report, predictor and service all go it.
#
# NumPy only. Shapes: N images, C classes, D features.


STRANGE = "unlike the images that it was trained on"
UNSURE = "no diagnosis stands out"
WIDE = "too many diagnoses fit"
REASONS = (STRANGE, UNSURE, WIDE)
"""Why the model abstains; several are joined by `; `."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model says of N images.

    Attributes:
        p_NC: calibrated probabilities, for the prior that was given or else for the stated one.
        diagnosis_N: index of the class that the decision rule names; the prior given does not change it.
        confidence_N: share of that class in softmax(log p + offsets), by which abstention goes.
        set_NC: the classes of the conformal set, to which the named one always belongs.
        ood_N: out-of-distribution score; NaN without one.
        abstain_N: whether the model abstains.
        reason_N: why, in words; empty where it does not.
    """

    p_NC: Floats
    diagnosis_N: Ints
    confidence_N: Floats
    set_NC: Bools
    ood_N: Floats
    abstain_N: Bools
    reason_N: tuple[str, ...]


def answer(
    logits_NC: NDArray[np.floating],
    features_ND: NDArray[np.floating],
    document: DecisionDocument,
    arrays: Arrays,
    prior: Sequence[float] | None = None,
) -> Answers:
    """Decide.

    Diagnosis, set and abstention are those of the stated prior, whatever prior is given: mean recall weighs
    the classes alike and the sets hold class by class, so neither knows of a prior; only the probabilities
    do.

    Args:
        logits_NC: of the network, averaged over its views.
        features_ND: of the image as it is.
        document: the model's decision.
        arrays: of its out-of-distribution score, as `read_arrays` gives them.
        prior: class shares of another population than the stated one, in any unit.

    Raises:
        UserError: the prior is not one positive number for each class, or one is given to a model whose own
            nobody knows.
    """
    scores_NC = np.asarray(logits_NC, dtype=np.float64)
    log_p_NC = scaled(scores_NC, document.scaling)
    weighed_NC = log_softmax(log_p_NC + np.array(document.rule.offsets))
    diagnosis_N = np.argmax(weighed_NC, axis=1).astype(np.int64)
    confidence_N = np.exp(weighed_NC.max(axis=1))
    set_NC = diagnosis_N[:, None] == np.arange(len(document.classes))
    if document.sets is not None:
        set_NC |= np.exp(log_softmax(scores_NC)) >= np.array(document.sets.thresholds)
    ood_N, found_RN = _doubts(scores_NC, features_ND, confidence_N, set_NC, document, arrays)
    reason_N = tuple(
        "; ".join(word for word, holds in zip(REASONS, found_R, strict=True) if holds)
        for found_R in found_RN.T
    )
    if prior is not None:
        if document.prior is None:
            raise UserError(
                "this model does not say for which class shares its probabilities hold, so they cannot be"
                " turned into those of another population; calibrate it first"
            )
        log_p_NC = shift_prior(log_p_NC, document.prior, prior)
    return Answers(
        p_NC=np.exp(log_p_NC),
        diagnosis_N=diagnosis_N,
        confidence_N=confidence_N,
        set_NC=set_NC,
        ood_N=ood_N,
        abstain_N=np.asarray(found_RN.any(axis=0)),
        reason_N=reason_N,
    )


def _doubts(
    logits_NC: Floats,
    features_ND: NDArray[np.floating],
    confidence_N: Floats,
    set_NC: Bools,
    document: DecisionDocument,
    arrays: Arrays,
) -> tuple[Floats, Bools]:
    """The out-of-distribution score, and which of `REASONS` hold. What is not a number is a doubt."""
    never_N = np.zeros(len(logits_NC), dtype=bool)
    ood, limits = document.ood, document.abstention
    ood_N, strange_N = np.full(len(logits_NC), np.nan), never_N
    if ood is not None:
        ood_N = ood_scores(ood.kind, logits_NC, features_ND, arrays, ood.neighbours)
        strange_N = ~(ood_N <= ood.threshold)
    unsure_N = never_N if limits.least_confidence is None else ~(confidence_N >= limits.least_confidence)
    wide_N = never_N if limits.largest_set is None else set_NC.sum(axis=1) > limits.largest_set
    return ood_N, np.stack([strange_N, unsure_N, wide_N])


# Answers as columns of a table: all of them in predictions.csv, some in what `dermlens predict` writes.


ANSWERED = ("diagnosis", "confidence", "set", "ood", "abstain", "reason")
"""Beside the probabilities: a class code; a share; codes joined by `|`; a score, empty where the model has
none; yes or no; words, empty where it does not abstain."""

BETWEEN = "|"


def answer_columns(answers: Answers, classes: Sequence[str]) -> dict[str, list[Any]]:
    """A list a column of `ANSWERED`, one entry an image."""
    return {
        "diagnosis": [classes[index] for index in answers.diagnosis_N],
        "confidence": answers.confidence_N.tolist(),
        "set": [
            BETWEEN.join(code for code, inside in zip(classes, set_C, strict=True) if inside)
            for set_C in answers.set_NC
        ],
        "ood": answers.ood_N.tolist(),
        "abstain": ["yes" if abstains else "no" for abstains in answers.abstain_N],
        "reason": list(answers.reason_N),
    }


def sets_of(column: Sequence[str], classes: Sequence[str]) -> Bools:
    """The column `set` as numbers, set_NC."""
    named = [frozenset(cell.split(BETWEEN)) for cell in column]
    return np.array([[code in cell for code in classes] for cell in named]).reshape(-1, len(classes))
