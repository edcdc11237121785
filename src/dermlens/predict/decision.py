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
from dermlens.metrics import Bools, Floats, Ints, predicted_classes
from dermlens.predict.decision_document import DecisionDocument, Scaling
from dermlens.predict.model_files import checked_bytes
from dermlens.predict.priors import ClassPrior

# From logits to log-probabilities where all classes are equally frequent, and from there to any case mix.


TINY = 1e-300
"""What a probability of 0 is taken for where its logarithm is needed."""


def log_softmax(scores_NC: Floats) -> Floats:
    """Log softmax over the classes, in double precision."""
    shifted_NC = scores_NC - scores_NC.max(axis=1, keepdims=True)
    return np.asarray(shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True)))


def scaled(logits_NC: Floats, scaling: Scaling) -> Floats:
    """Calibrated log-probabilities at equal class shares.

    Source: Guo, Pleiss, Sun, Weinberger 2017, section 4.2, for the temperature; Alexandari, Kundaje,
    Shrikumar 2020 for a temperature with biases.
    """
    scores_NC = np.asarray(logits_NC, dtype=np.float64) / scaling.temperature
    if scaling.scale is not None:
        scores_NC = scores_NC * np.array(scaling.scale)
    if scaling.bias is not None:
        scores_NC = scores_NC + np.array(scaling.bias)
    return log_softmax(scores_NC)


def unscaled(score_NC: Floats, scaling: Scaling) -> Floats:
    """The network's log softmax, from what `scaled` made of it."""
    scores_NC = score_NC - np.array(scaling.bias or 0.0)
    if scaling.scale is not None:
        scores_NC = scores_NC / np.maximum(scaling.scale, TINY)
    return log_softmax(scores_NC * scaling.temperature)


def at_prior(score_NC: Floats, prior: ClassPrior) -> Floats:
    """Log-probabilities in a case mix: p_c ∝ s_c · π_c, s being those at equal class shares.

    It supposes that each class looks the same in every case mix and only their shares differ. Source:
    Saerens, Latinne, Decaestecker 2002, Eq. 2.4.
    """
    return log_softmax(score_NC + np.log(prior.shares))


def at_equal(p_NC: Floats, prior: ClassPrior | None) -> Floats:
    """Back from probabilities in a case mix to log-probabilities at equal class shares."""
    log_p_NC = np.log(np.maximum(p_NC, TINY))
    return log_softmax(log_p_NC if prior is None else log_p_NC - np.log(prior.shares))


# How unlike the training images an image is: three scores, higher for more unlike.
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
    """The features where the score measures them, (N, K); those of an early layer have no part."""
    center_D, project_DK = (arrays[name].astype(np.float64) for name in NAMES[:2])
    features_ND = features_ND[:, : len(center_D)]
    x_ND = unit(features_ND) if kind == "knn" else np.asarray(features_ND, dtype=np.float64)
    return np.asarray((x_ND - center_D) @ project_DK)


def unit(features_ND: NDArray[np.floating]) -> Floats:
    """Features of length one; zeros stay."""
    x_ND = np.asarray(features_ND, dtype=np.float64)
    length_N = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return np.asarray(np.divide(x_ND, length_N, out=np.zeros_like(x_ND), where=length_N > 0))


# decision.npz: the arrays of an out-of-distribution score; model.json next to it holds its check sum.


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
        raise UserError(f"{path} does not exist; the decision in model.json next to it needs it")
    content = checked_bytes(path, document.ood.sha256)
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
# NumPy only. Shapes: N images or lesions, C classes, D features.


OUT_OF_DISTRIBUTION = "unlike the images that it was trained on"
UNSURE = "no diagnosis stands out"
WIDE = "too many diagnoses fit"
REASONS = (OUT_OF_DISTRIBUTION, UNSURE, WIDE)
"""Why an answer is uncertain; several are joined by `; `."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model says of N images.

    Attributes:
        p_NC: probabilities in the case mix that was asked for, or else in the model's own.
        diagnosis_N: index of the class that is named: the most probable one.
        confidence_N: its probability.
        suspicion_N: probability of a malignant class at the reference prior, which no other moves; NaN where
            nobody knows which classes are malignant.
        melanoma_N: of melanoma alone; NaN without that class.
        flagged_N: whether the suspicion reaches the mark; none where the model has no mark.
        set_NC: the classes of the set: the named one, and with each all that are more probable.
        ood_N: out-of-distribution score; NaN without one.
        uncertain_N: whether the model abstains.
        reason_N: why, in words; empty where it does not.
    """

    p_NC: Floats
    diagnosis_N: Ints
    confidence_N: Floats
    suspicion_N: Floats
    melanoma_N: Floats
    flagged_N: Bools | None
    set_NC: Bools
    ood_N: Floats
    uncertain_N: Bools
    reason_N: tuple[str, ...]


def answer(
    logits_NC: NDArray[np.floating],
    features_ND: NDArray[np.floating],
    document: DecisionDocument,
    arrays: Arrays,
    prior: ClassPrior | None = None,
) -> Answers:
    """What the model says of images.

    Args:
        logits_NC: of the network, averaged over its views.
        features_ND: of the image as it is.
        document: the model's decision.
        arrays: of its out-of-distribution score, as `read_arrays` gives them.
        prior: another case mix than the model's own.

    Raises:
        UserError: a prior is given to a model that nobody has calibrated.
    """
    scores_NC, ood = np.asarray(logits_NC, dtype=np.float64), document.ood
    ood_N = np.full(len(scores_NC), np.nan)
    if ood is not None:
        ood_N = ood_scores(ood.kind, scores_NC, features_ND, arrays, ood.neighbours)
    return decide(scaled(scores_NC, document.scaling), ood_N, document, prior)


def decide(
    score_NC: Floats, ood_N: Floats, document: DecisionDocument, prior: ClassPrior | None = None
) -> Answers:
    """What the model says, from log-probabilities at equal class shares and out-of-distribution scores.

    Raises:
        UserError: a prior is given to a model that nobody has calibrated.
    """
    if prior is not None and document.prior is None:
        raise UserError(
            "this model has not been calibrated, so its probabilities cannot be turned into those of another"
            " case mix: `dermlens calibrate` it first"
        )
    shown = prior or document.prior
    p_NC = np.exp(score_NC if shown is None else at_prior(score_NC, shown))
    diagnosis_N = predicted_classes(p_NC)
    confidence_N = p_NC.max(axis=1)
    set_NC = _sets(score_NC, p_NC, diagnosis_N, document)
    suspicion_N, melanoma_N = _suspicion(score_NC, document)
    mark = document.suspicion.mark if document.suspicion is not None else None
    found_RN = _doubts(ood_N, confidence_N, set_NC, document)
    reason_N = tuple(
        "; ".join(word for word, holds in zip(REASONS, found_R, strict=True) if holds)
        for found_R in found_RN.T
    )
    return Answers(
        p_NC=p_NC,
        diagnosis_N=diagnosis_N,
        confidence_N=confidence_N,
        suspicion_N=suspicion_N,
        melanoma_N=melanoma_N,
        flagged_N=None if mark is None else ~(suspicion_N < mark.threshold),
        set_NC=set_NC,
        ood_N=ood_N,
        uncertain_N=np.asarray(found_RN.any(axis=0)),
        reason_N=reason_N,
    )


def _sets(score_NC: Floats, p_NC: Floats, diagnosis_N: Ints, document: DecisionDocument) -> Bools:
    """The classes whose score reaches its threshold, the named one, and all that are more probable."""
    sets = document.sets
    set_NC = diagnosis_N[:, None] == np.arange(len(document.classes))
    if sets is not None:
        of_NC = score_NC if sets.score == "equal" else unscaled(score_NC, document.scaling)
        set_NC = set_NC | (np.exp(of_NC) >= np.array(sets.thresholds))
    least_N = np.where(set_NC, p_NC, np.inf).min(axis=1)
    return np.asarray(set_NC | (p_NC >= least_N[:, None]))


def _suspicion(score_NC: Floats, document: DecisionDocument) -> tuple[Floats, Floats]:
    """The probability of any malignant class, and of melanoma, at the reference prior."""
    nothing_N = np.full(len(score_NC), np.nan)
    found = document.suspicion
    if found is None:
        return nothing_N, nothing_N
    q_NC = np.exp(at_prior(score_NC, found.reference))
    columns = [document.classes.index(code) for code in found.malignant]
    melanoma_N = q_NC[:, document.classes.index("mel")] if "mel" in document.classes else nothing_N
    return np.minimum(q_NC[:, columns].sum(axis=1), 1.0), melanoma_N


def _doubts(ood_N: Floats, confidence_N: Floats, set_NC: Bools, document: DecisionDocument) -> Bools:
    """Which of `REASONS` hold. What is not a number is a doubt."""
    never_N = np.zeros(len(ood_N), dtype=bool)
    ood, limits = document.ood, document.abstention
    outside_N = never_N if ood is None else ~(ood_N <= ood.threshold)
    unsure_N = never_N if limits.least_confidence is None else ~(confidence_N >= limits.least_confidence)
    wide_N = never_N if limits.largest_set is None else set_NC.sum(axis=1) > limits.largest_set
    return np.stack([outside_N, unsure_N, wide_N])


# Answers as columns of a table: all of them in predictions.csv, some in what `dermlens predict` writes.


ANSWERED = ("diagnosis", "confidence", "suspicion", "flagged", "set", "ood", "uncertain", "reason")
"""Along with the probabilities: a class code; its probability; that of any malignant class at the
reference prior;
yes or no; codes joined by `|`; a score; yes or no; words, empty where it is certain. Suspicion, flag
and score
are empty where the model has none."""

BETWEEN = "|"


def yes_or_no(held: bool | None) -> str:
    """As tables have it; empty for neither."""
    return "" if held is None else "yes" if held else "no"


def answer_columns(answers: Answers, classes: Sequence[str]) -> dict[str, list[Any]]:
    """A list a column of `ANSWERED`, one entry an image."""
    flagged_N = [None] * len(answers.p_NC) if answers.flagged_N is None else answers.flagged_N.tolist()
    return {
        "diagnosis": [classes[index] for index in answers.diagnosis_N],
        "confidence": answers.confidence_N.tolist(),
        "suspicion": answers.suspicion_N.tolist(),
        "flagged": [yes_or_no(held) for held in flagged_N],
        "set": [
            BETWEEN.join(code for code, inside in zip(classes, set_C, strict=True) if inside)
            for set_C in answers.set_NC
        ],
        "ood": answers.ood_N.tolist(),
        "uncertain": [yes_or_no(held) for held in answers.uncertain_N.tolist()],
        "reason": list(answers.reason_N),
    }


def sets_of(column: Sequence[str], classes: Sequence[str]) -> Bools:
    """The column `set` as numbers, set_NC."""
    named = [frozenset(cell.split(BETWEEN)) for cell in column]
    return np.array([[code in cell for code in classes] for cell in named]).reshape(-1, len(classes))
