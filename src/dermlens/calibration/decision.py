"""Give a run its decision: fitted on its own roles, kept in its model, its predictions answered anew.

Shapes: N images, C classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd

from dermlens.calibration.out_of_distribution import fit_ood
from dermlens.calibration.probabilities import Labelled, even_weights, fit_even_scaling
from dermlens.calibration.sets import fit_sets
from dermlens.calibration.suspicion import fit_marks
from dermlens.data.predictions import arrays as truth_and_probabilities
from dermlens.data.predictions import classes_of, holds_answers, read_predictions, write_predictions
from dermlens.errors import UserError
from dermlens.labels import Vocabulary
from dermlens.metrics import Floats
from dermlens.models.saved import SavedModel, save_decision
from dermlens.predict.decision import Arrays, Kind, answer, answer_columns, decide
from dermlens.predict.decision_document import Abstention, DecisionDocument, Suspicion
from dermlens.predict.document import of_last_layer
from dermlens.predict.pictures.preprocessing import ViewsConfig
from dermlens.predict.priors import ClassPrior, Prior, default_prior, read_prior
from dermlens.runs import Run
from dermlens.training.machine import Where
from dermlens.training.predict import logits_table

# Fit a whole decision: scaling, suspicion, sets, out-of-distribution score, abstention.
#
# All of it on the calibration role, or on predictions out of fold, but for the arrays of the
# out-of-distribution score, which are the training role's, and its threshold, the calibration role's.


ANSWERED = 0.9
"""Share of the images whose highest probability is enough, in the model's own case mix."""
MISSED = 0.1
"""Share of a class's lesions that the sets may miss."""


def fit_decision(
    vocabulary: Vocabulary,
    *,
    calibration: Labelled,
    train: Labelled | None = None,
    scored: Labelled | None = None,
    ood: Kind = "energy",
    prior: ClassPrior | None = None,
) -> tuple[DecisionDocument, Arrays]:
    """Fit a decision.

    Args:
        vocabulary: the classes, in the order of the logits, and which are malignant.
        calibration: the calibration role.
        train: the training role; `energy` does without.
        scored: what all but the out-of-distribution score is fitted on, such as predictions out of fold; none
            for the calibration role.
        ood: kind of the out-of-distribution score.
        prior: the case mix that answers hold for; none for `specialist`, or of own classes `equal`.

    Returns:
        The document, and the arrays of the score.

    Raises:
        UserError: a class has no image to be fitted on.
    """
    classes, scored = vocabulary.classes, scored or calibration
    count_C = np.bincount(scored.target_N, minlength=len(classes))
    if not count_C.all():
        raise UserError(
            f"no image is of class {classes[int(np.argmin(count_C))]}: a decision is fitted on images"
            f" of every class"
        )
    scaling, score_NC = fit_even_scaling(scored)
    score, arrays = fit_ood(ood, train or calibration, calibration)
    document = DecisionDocument(
        classes=classes,
        prior=prior or default_prior(classes),
        scaling=scaling,
        suspicion=_suspicion(vocabulary),
        sets=fit_sets(np.exp(score_NC), scored.target_N, scored.lesion_N, classes, alpha=MISSED),
        ood=score,
    )
    found = decide(score_NC, np.full(len(score_NC), np.nan), document)
    if document.suspicion is not None:
        marks = fit_marks(
            document.suspicion,
            found.suspicion_N,
            scored.target_N,
            scored.lesion_N,
            scored.sources,
            classes,
        )
        suspicion = document.suspicion.model_copy(update={"marks": marks})
        document = document.model_copy(update={"suspicion": suspicion})
    assert document.prior is not None
    weight_N = even_weights(scored) * np.array(document.prior.shares)[scored.target_N]
    limits = Abstention(
        least_confidence=_quantile(found.confidence_N, weight_N, 1 - ANSWERED),
        largest_set=max(1, len(classes) // 2),
    )
    return document.model_copy(update={"abstention": limits}), arrays


def _suspicion(vocabulary: Vocabulary) -> Suspicion | None:
    """Without marks; none where no class is known to be malignant, or all are."""
    malignant = vocabulary.malignant
    if not malignant or len(malignant) == len(vocabulary.classes):
        return None
    return Suspicion(
        malignant=malignant,
        premalignant=vocabulary.premalignant,
        reference=default_prior(vocabulary.classes),
    )


def _quantile(value_N: Floats, weight_N: Floats, share: float) -> float:
    """The value below which so much of the weight lies."""
    order = np.argsort(value_N, kind="stable")
    below = np.cumsum(weight_N[order]) / weight_N.sum()
    return float(value_N[order][np.searchsorted(below, share)])


NEEDED = "calibration"
STALE = (
    "metrics.json", "model_card.md", "report.html", "missing_metadata.csv", "told.csv", "decision/*",
    "evaluations/*/metrics.json", "evaluations/*/report.html", "priors",
)  # fmt: skip
"""Files of a run that depend on its decision; the commands that wrote them write them again."""


@dataclass(frozen=True, slots=True)
class RoleOutputs:
    """What a run's network says of the images of a role.

    Attributes:
        images: their ids.
        labelled: outputs and truth, in the same order.
    """

    images: tuple[str, ...]
    labelled: Labelled


def calibrate_run(
    run: Run,
    *,
    data: Path | None = None,
    ood: Kind = "energy",
    prior: Prior = None,
    out_of_fold: Path | None = None,
    say: Callable[[str], None] | None = None,
    **where: Unpack[Where],
) -> DecisionDocument:
    """Fit a decision on a run's calibration role, and write it.

    predictions.csv then holds calibrated probabilities and answers. Rows of the test role are taken out of it
    and `STALE` is taken away: all that was of a model that decided otherwise.

    Args:
        run: a completed run.
        data: where its images are now; none takes the folder that it was trained on.
        ood: kind of the out-of-distribution score.
        prior: the case mix that answers shall hold for, as `read_prior` takes it; none for `specialist`, or
            of own classes `equal`.
        out_of_fold: predictions of a cross-fit of the same recipe, on which all but the out-of-distribution
            score is fitted then; none for the calibration role.
        say: takes sentences on which table was read and what was made of it.
        **where: see `Where`.

    Returns:
        What was written into model.json.

    Raises:
        UserError: the split has no calibration role, the images are not there, a class has no image to be
            fitted on, or the predictions out of fold are of other classes or calibrated already.
    """
    saved = run.model(decision=False)
    mix = None if prior is None else read_prior(prior, saved.classes, "--prior")
    scored = None if out_of_fold is None else _out_of_fold(out_of_fold, saved.classes)
    held_out = [role for role in ("selection", NEEDED) if role == NEEDED or role in run.split().role_names]
    roles = held_out if ood == "energy" else ["train", *held_out]
    outputs = run_outputs(run, saved, roles, data=data, **where, say=say)
    document, arrays = fit_decision(
        saved.vocabulary,
        calibration=outputs[NEEDED].labelled,
        train=outputs["train"].labelled if "train" in outputs else None,
        scored=scored,
        ood=ood,
        prior=mix,
    )
    predictions = run.predictions()
    answered = [
        _answered(predictions[predictions["role"] == role], outputs[role], document, arrays)
        for role in held_out
    ]
    _take_away(run)
    save_decision(run.path, document, arrays)
    write_predictions(run.predictions_file, pd.concat(answered, ignore_index=True))
    return document


def _out_of_fold(path: Path, classes: Sequence[str]) -> Labelled:
    """Predictions of a cross-fit, their log-probabilities standing for logits.

    Raises:
        UserError: they are of other classes, or of models that were calibrated.
    """
    table = read_predictions(path)
    if set(classes_of(table)) != set(classes):
        raise UserError(f"{path} is of {', '.join(classes_of(table))}, and the run of {', '.join(classes)}")
    if holds_answers(path):
        raise UserError(f"{path} holds calibrated probabilities; a decision is fitted on the network's own")
    target_N, p_NC = truth_and_probabilities(table, tuple(classes))
    source_N = table["source"].to_numpy(dtype=str) if "source" in table else None
    return Labelled.of_probabilities(p_NC, target_N, table["lesion_id"].to_numpy(dtype=str), source_N)


def run_outputs(
    run: Run,
    saved: SavedModel,
    roles: Sequence[str],
    *,
    data: Path | None = None,
    reduce: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
    say: Callable[[str], None] | None = None,
    **where: Unpack[Where],
) -> dict[str, RoleOutputs]:
    """Logits, features and truth of a run's roles; the logits of the training role without test-time views.

    Args:
        run: a completed run.
        saved: its model.
        roles: of its split; images that `data.also_train` added have none.
        data: where its images are now; none takes the folder that it was trained on.
        reduce: what the network gets of the metadata of a table; by default what there is.
        say: as for `calibrate_run`.
        **where: see `Where`.

    Raises:
        UserError: the split lacks a role, or the images are not there.
    """
    table = run.reading(data).announced_to(say)
    split = run.split(table)
    found = {}
    for role in roles:
        ids = split.ids(role)
        if not ids:
            raise UserError(
                f"the split of run {run.path} has no {role} role, as protocols grouped and sources draw one"
            )
        of_role = table[table["image_id"].isin(ids)].reset_index(drop=True)
        # of training images features are what is asked for, and those are of the image as it is
        seen = replace(saved, views=ViewsConfig()) if role == "train" else saved
        # the cache of the whole table, which the training made
        labelled = label_outputs(seen, reduce(of_role), of=table, **where)
        found[role] = RoleOutputs(tuple(of_role["image_id"]), labelled)
    return found


def label_outputs(
    saved: SavedModel,
    table: pd.DataFrame,
    *,
    of: pd.DataFrame | None = None,
    device: str = "auto",
    cache: Path | None = None,
) -> Labelled:
    """Logits and last features of a table next to its truth; a diagnosis that the model does not know is −1.

    Args:
        saved: the model.
        table: the rows to predict.
        of: a larger table that they are of, whose pixels are cached together; none for these alone.
        device: `auto`, `cpu`, `cuda` or `mps`.
        cache: root of the pixel caches; none takes the default place.
    """
    outputs = logits_table(saved, table, of=of, cache_root=cache, device=device)
    position = {code: index for index, code in enumerate(saved.classes)}
    return Labelled(
        logits_NC=outputs.logits_NC,
        features_ND=of_last_layer(outputs.features_ND, saved.dermoscopy),
        target_N=np.array([position.get(code, -1) for code in table["dx"]], dtype=np.int64),
        lesion_N=table["lesion_id"].to_numpy(dtype=str),
        source_N=table["source"].to_numpy(dtype=str) if "source" in table else None,
    )


def _take_away(run: Run) -> None:
    """Remove what another decision has made stale."""
    for path in [path for pattern in STALE for path in run.path.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _answered(
    predictions: pd.DataFrame, outputs: RoleOutputs, document: DecisionDocument, arrays: Arrays
) -> pd.DataFrame:
    """The rows with calibrated probabilities and answers in the place of what they held."""
    place = {image: index for index, image in enumerate(outputs.images)}
    rows_N = np.array([place[image] for image in predictions["image_id"]], dtype=np.int64)
    role = outputs.labelled
    answers = answer(role.logits_NC[rows_N], role.features_ND[rows_N], document, arrays)
    p = {f"p_{code}": answers.p_NC[:, index] for index, code in enumerate(document.classes)}
    return predictions.assign(**p, **answer_columns(answers, document.classes))
