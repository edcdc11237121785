"""Give a run its decision: fitted on its own roles, kept in its model, its predictions answered anew.

Shapes: N images, C classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.calibration.abstention import fit_ood, fit_sets
from dermlens.calibration.labelled import Labelled
from dermlens.calibration.probabilities import choose_scaling, fit_rule
from dermlens.data.predictions import write_predictions
from dermlens.errors import UserError
from dermlens.models.saved import SavedModel, save_decision
from dermlens.predict.decision import Arrays, Kind, answer, answer_columns, log_softmax, scaled
from dermlens.predict.document import Abstention, DecisionDocument
from dermlens.predict.pictures.preprocessing import ViewsConfig
from dermlens.runs import Run
from dermlens.training.predict import logits_table

# Fit a whole decision: scaling, rule, sets, out-of-distribution score, abstention.
#
# Each part is fixed on its own role: the score's arrays on the training role, the rule on the selection role,
# all else on the calibration role.


ANSWERED = 0.9
"""Share of the calibration images whose confidence is enough."""
MISSED = 0.1
"""Share of a class's lesions that the sets may miss."""


def fit_decision(
    classes: Sequence[str],
    *,
    train: Labelled,
    selection: Labelled,
    calibration: Labelled,
    ood: Kind = "energy",
    seed: int = 0,
) -> tuple[DecisionDocument, Arrays]:
    """Fit a decision.

    The stated prior is the class shares of the training role's images. The confidence below which the model
    abstains leaves `ANSWERED` of the calibration images; a set of more than half of the classes is too large.

    Args:
        classes: codes, in the order of the logits.
        train: the training role.
        selection: the selection role.
        calibration: the calibration role.
        ood: kind of the out-of-distribution score.
        seed: of the folds of cross-validation and of the images that `knn` keeps.

    Returns:
        The document, and the arrays of the score.

    Raises:
        UserError: a class is not in the training role.
    """
    count_C = np.bincount(train.target_N, minlength=len(classes))
    if not count_C.all():
        raise UserError(
            f"no training image is of class {classes[int(np.argmin(count_C))]}: a decision needs the share of"
            " every class"
        )
    prior_C = count_C / count_C.sum()
    scaling = choose_scaling(calibration, prior_C, seed=seed)
    log_p_NC = scaled(selection.logits_NC, scaling)
    score, arrays = fit_ood(ood, train, calibration, seed=seed)
    document = DecisionDocument(
        classes=tuple(classes),
        prior=tuple(prior_C.tolist()),
        scaling=scaling,
        rule=fit_rule(log_p_NC, selection.target_N, selection.lesion_N, prior_C, seed=seed),
        sets=fit_sets(
            np.exp(log_softmax(calibration.logits_NC)),
            calibration.target_N,
            calibration.lesion_N,
            classes,
            alpha=MISSED,
        ),
        ood=score,
    )
    said = answer(calibration.logits_NC, calibration.features_ND, document, arrays)
    limits = Abstention(
        least_confidence=float(np.quantile(said.confidence_N, 1 - ANSWERED)),
        largest_set=max(1, len(classes) // 2),
    )
    return document.model_copy(update={"abstention": limits}), arrays


# Give a run its decision: fitted on its own roles, written into its model, its predictions answered anew.


FITTED = ("train", "selection", "calibration")
STALE = (
    "metrics.json",
    "model_card.md",
    "report.html",
    "told.csv",
    "decision/*",
    "evaluations/*/metrics.json",
    "evaluations/*/report.html",
)
"""What tells of a run's decision beside its model and predictions; the verbs that wrote it make it again."""


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
    device: str = "auto",
    cache: Path | None = None,
) -> DecisionDocument:
    """Fit a decision on a run's train, selection and calibration roles, and write it.

    predictions.csv then holds calibrated probabilities and answers. Rows of the test role are taken out of it
    and `STALE` is taken away: all that was of a model that decided otherwise.

    Args:
        run: a completed run.
        data: where its images are now; none takes the folder that it was trained on.
        ood: kind of the out-of-distribution score.
        device: where to predict: auto, cpu, cuda or mps.
        cache: root of the pixel cache; none for the usual one.

    Returns:
        What was written into model.json.

    Raises:
        UserError: the split lacks one of the three roles, the images are not there, or a class has no
            training image.
    """
    saved = run.model(decision=False)
    outputs = run_outputs(run, saved, FITTED, data=data, device=device, cache=cache)
    train, selection, calibration = (outputs[role].labelled for role in FITTED)
    document, arrays = fit_decision(
        saved.classes, train=train, selection=selection, calibration=calibration, ood=ood
    )
    predictions = run.predictions()
    answered = [
        _answered(predictions[predictions["role"] == role], found, document, arrays)
        for role, found in outputs.items()
    ]
    _take_away(run)
    save_decision(run.path, document, arrays)
    write_predictions(run.predictions_file, pd.concat(answered, ignore_index=True))
    return document


def run_outputs(
    run: Run,
    saved: SavedModel,
    roles: Sequence[str],
    *,
    data: Path | None = None,
    told: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
    device: str = "auto",
    cache: Path | None = None,
) -> dict[str, RoleOutputs]:
    """Logits, features and truth of a run's roles; the logits of the training role without test-time views.

    Args:
        run: a completed run.
        saved: its model.
        roles: of its split; images that `data.also_train` added have none.
        data: where its images are now; none takes the folder that it was trained on.
        told: what the network is told of the patients of a table; by default what there is.
        device: as for `predict_table`.
        cache: likewise.

    Raises:
        UserError: the split lacks a role, or the images are not there.
    """
    table = run.table(data)
    split = run.split(table)
    found = {}
    for role in roles:
        ids = split.ids(role)
        if not ids:
            raise UserError(
                f"the split of run {run.path} has no {role} role: a decision needs {', '.join(FITTED)}, as"
                " protocol grouped draws them"
            )
        of_role = table[table["image_id"].isin(ids)].reset_index(drop=True)
        # of training images features are what is asked for, and those are of the image as it is
        seen = replace(saved, views=ViewsConfig()) if role == "train" else saved
        # the cache of the whole table, which the training made
        labelled = label_outputs(seen, told(of_role), of=table, device=device, cache=cache)
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
    """Logits and features of a table beside its truth; a diagnosis that the model does not know is −1.

    Args:
        saved: the model.
        table: the rows to predict.
        of: a larger table that they are of, whose pixels are cached together; none for these alone.
        device: as for `logits_table`.
        cache: likewise.
    """
    outputs = logits_table(saved, table, of=of, cache_root=cache, device=device)
    position = {code: index for index, code in enumerate(saved.classes)}
    return Labelled(
        logits_NC=outputs.logits_NC,
        features_ND=outputs.features_ND,
        target_N=np.array([position.get(code, -1) for code in table["dx"]], dtype=np.int64),
        lesion_N=table["lesion_id"].to_numpy(dtype=str),
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
