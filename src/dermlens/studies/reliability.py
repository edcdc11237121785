"""What a run's decision is worth: calibration, sets, abstention, and less known of the patient.

Shapes: N images, C classes, K points of a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.calibration.decision import run_outputs
from dermlens.calibration.probabilities import Labelled, class_weights
from dermlens.data.predictions import write_csv
from dermlens.errors import UserError, nearest
from dermlens.evaluation.calibration import answer_numbers, ece, fate, reliability
from dermlens.evaluation.intervals import draw_lesions, estimate
from dermlens.evaluation.score import score
from dermlens.labels import Vocabulary
from dermlens.predict.decision import Answers, Arrays, answer, at_prior, log_softmax, scaled
from dermlens.predict.decision_document import DecisionDocument
from dermlens.report.curves import coverage_bars, reliability_diagram, risk_coverage_curve
from dermlens.report.plots import save_figure
from dermlens.report.run_data import METADATA_MEASURES, measured
from dermlens.runs import Run
from dermlens.training.machine import Where
from dermlens.training.predict import predict_table

# Every function takes arrays, so that a run, a cross-fit and a test can all be shown by them.


SHARES = np.linspace(0.5, 1.0, 51)


def calibration_table(role: Labelled, document: DecisionDocument) -> pd.DataFrame:
    """ECE, log loss and Brier score: in the model's own case mix, and at equal class shares before and after.

    In its own mix the images count as they are. At equal shares every class weighs the same, and before
    scaling the network's probabilities are taken as they are.

    Args:
        role: outputs and truth.
        document: a calibrated decision.

    Returns:
        A row a prior and stage: `prior` (`own` or `equal`), `stage`, `ece`, `log_loss`, `brier`.

    Raises:
        UserError: nobody has calibrated the model.
    """
    if document.prior is None:
        raise UserError("this decision does not say for which class shares its probabilities hold")
    before, after = log_softmax(role.logits_NC), scaled(role.logits_NC, document.scaling)
    cases = {
        ("own", "after"): at_prior(after, document.prior),
        ("equal", "before"): before,
        ("equal", "after"): after,
    }
    even_N = class_weights(role.target_N, np.full(len(document.classes), 1 / len(document.classes)))
    rows = []
    for (prior, stage), log_p_NC in cases.items():
        p_NC, weights = np.exp(log_p_NC), even_N if prior == "equal" else None
        found = {
            "ece": ece(role.target_N, p_NC, weights),
            "log_loss": metrics.log_loss(role.target_N, p_NC, weights),
            "brier": metrics.brier(role.target_N, p_NC, weights),
        }
        rows.append({"prior": prior, "stage": stage} | {name: float(value) for name, value in found.items()})
    return pd.DataFrame(rows)


def set_table(
    role: Labelled, answers: Answers, document: DecisionDocument, *, replicates: int = 1000
) -> pd.DataFrame:
    """Coverage and size of the sets, class by class and over all.

    Args:
        role: the truth.
        answers: to it.
        document: a decision with sets.
        replicates: resamples of lesions for the 95 % interval of the coverage.

    Returns:
        A row a class and one for `all`: `class`, `images`, `lesions`, `calibration_lesions`, `guaranteed`
        (whether the class has a threshold of its own), `coverage` with `low` and `high`, `set_size`.

    Raises:
        UserError: the decision makes no sets.
    """
    if document.sets is None:
        raise UserError("this decision makes no sets")
    classes, sets = document.classes, document.sets
    found = estimate(
        lambda weights: answer_numbers(
            role.target_N, answers.diagnosis_N, answers.set_NC, answers.uncertain_N, classes, weights
        ),
        draw_lesions(role.lesion_N, role.target_N, replicates=replicates, seed=0),
        level=0.95,
    )
    rows = []
    for index, code in [*enumerate(classes), (None, "all")]:
        of_class = role.target_N == index if index is not None else np.ones(len(role.target_N), dtype=bool)
        at = ("per_class", code) if index is not None else ()
        coverage = found[*at, "coverage"]
        rows.append(
            {
                "class": code,
                "images": int(of_class.sum()),
                "lesions": len(np.unique(role.lesion_N[of_class])),
                "calibration_lesions": sets.lesions[index] if index is not None else sum(sets.lesions),
                "guaranteed": code not in sets.pooled if index is not None else not sets.pooled,
                "coverage": coverage["value"],
                "low": coverage["low"],
                "high": coverage["high"],
                "set_size": found[*at, "set_size"]["value"],
            }
        )
    return pd.DataFrame(rows)


def risk_coverage(role: Labelled, answers: Answers, vocabulary: Vocabulary) -> pd.DataFrame:
    """What answering fewer images would bring: errors and missed melanomas by the share answered.

    Images are answered in falling order of the confidence; equal ones in the order that they stand in.
    Images far from training and wide sets have no part in the order; what the model does is in `as_answered`.

    Args:
        role: the truth.
        answers: to it.
        vocabulary: the classes.

    Returns:
        A row a share of `SHARES`: `answered`, `error` (share of wrong diagnoses among the answered),
        `mean_recall` among them, and with a class `mel` its images by `fate`: `mel_named`, `mel_in_set`,
        `mel_abstained`, `mel_missed`; of malignant own classes `malignant_named` and so on.
    """
    order = np.argsort(-answers.confidence_N, kind="stable")
    rows = []
    for share in SHARES:
        abstain_N = np.ones(len(order), dtype=bool)
        abstain_N[order[: max(1, round(share * len(order)))]] = False
        rows.append(_outcome(role, answers, abstain_N, vocabulary))
    return pd.DataFrame(rows)


def as_answered(role: Labelled, answers: Answers, vocabulary: Vocabulary) -> dict[str, float]:
    """The columns of `risk_coverage` where the model abstains as it does."""
    return _outcome(role, answers, answers.uncertain_N, vocabulary)


def _outcome(
    role: Labelled, answers: Answers, abstain_N: metrics.Bools, vocabulary: Vocabulary
) -> dict[str, float]:
    numbers = answer_numbers(
        role.target_N, answers.diagnosis_N, answers.set_NC, abstain_N, vocabulary.classes, weights=None
    )
    found = {
        "answered": float(numbers["answered",]),
        "error": 1 - float(numbers["accuracy_answered",]),
        "mean_recall": float(numbers["mean_recall_answered",]),
    }
    if not vocabulary.sought:
        return found
    counts = fate(role.target_N, answers.diagnosis_N, answers.set_NC, abstain_N, vocabulary)
    what = "mel" if vocabulary.sought_group == "melanoma" else "malignant"
    return found | {f"{what}_{name}": float(count) for name, count in counts.items() if name != "images"}


def write_decision_report(
    folder: Path,
    role: Labelled,
    document: DecisionDocument,
    arrays: Arrays,
    *,
    replicates: int = 1000,
    vocabulary: Vocabulary | None = None,
) -> dict[str, pd.DataFrame]:
    """Write every table as CSV and every figure as PNG.

    Args:
        folder: to write to.
        role: images that fitted nothing, if the numbers shall not flatter.
        document: the decision, with a prior and sets.
        arrays: of its out-of-distribution score.
        replicates: resamples of lesions.
        vocabulary: the classes, where some are someone's own; none for what is known of their codes.

    Returns:
        The tables by the name of their file: `calibration`, `sets`, `risk_coverage`, `answered`.

    Raises:
        UserError: the decision states no prior or makes no sets.
    """
    answers = answer(role.logits_NC, role.features_ND, document, arrays)
    vocabulary = vocabulary or Vocabulary(document.classes)
    tables = {
        "calibration": calibration_table(role, document),
        "sets": set_table(role, answers, document, replicates=replicates),
        "risk_coverage": risk_coverage(role, answers, vocabulary),
        "answered": pd.DataFrame([as_answered(role, answers, vocabulary)]),
    }
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    for stage, p_NC in (("before", np.exp(log_softmax(role.logits_NC))), ("after", answers.p_NC)):
        figure = reliability_diagram(reliability(role.target_N, p_NC))
        save_figure(figure, folder / f"reliability_{stage}.png")
    assert document.sets is not None  # set_table has asked for them
    save_figure(coverage_bars(tables["sets"], 1 - document.sets.alpha), folder / "coverage.png")
    curve = risk_coverage_curve(tables["risk_coverage"], tables["answered"].iloc[0])
    save_figure(curve, folder / "risk_coverage.png")
    return tables


def report_run(
    run: Run,
    role: str,
    folder: Path,
    *,
    data: Path | None = None,
    **where: Unpack[Where],
) -> dict[str, pd.DataFrame]:
    """`write_decision_report` of a calibrated run, for one of its roles.

    Args:
        run: calibrated, with predictions of the role: those of the test role are there once it was opened.
        role: of its split.
        folder: to write to.
        data: as for `Run.table`.
        **where: see `Where`.

    Returns:
        The tables by the name of their file.

    Raises:
        UserError: the run is not calibrated, has no predictions of the role, or its images are not there.
    """
    saved = run.model()
    if saved.decision is None:
        raise UserError(f"run {run.path} decides nothing yet: dermlens calibrate {run.path}")
    scored = run.predictions()["role"].unique()
    if role not in scored:
        raise UserError(f"run {run.path} has no predictions of role {role}{nearest(role, scored)}")
    labelled = run_outputs(run, saved, (role,), data=data, **where)[role].labelled
    return write_decision_report(folder, labelled, saved.decision, saved.arrays, vocabulary=saved.vocabulary)


# Elsewhere age and sex are often missing, and the site comes in other words or not at all. Images of one role
# are answered again with only part of what the table says; what is withheld is given as missing.


def without_metadata(table: pd.DataFrame) -> pd.DataFrame:
    """A LesionTable whose patients nothing is known of."""
    return table.assign(age=np.nan, sex="unknown", site="unknown")


KNOWN: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "age, sex and site": lambda table: table,
    "age and sex": lambda table: table.assign(site="unknown"),
    "site": lambda table: table.assign(age=np.nan, sex="unknown"),
    "nothing": without_metadata,
}


def missing_metadata(
    run: Run,
    role: str,
    path: Path,
    *,
    data: Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
) -> pd.DataFrame:
    """Score the images of a role with all, part and none of what is known of their patients.

    Args:
        run: with predictions of the role: those of the test role are there once it was opened.
        role: of its split.
        path: of the CSV to write.
        data: as for `Run.table`.
        device: as for `predict_table`.
        cache: as for `predict_table`.

    Returns:
        A row each of `KNOWN`: `metadata`, `role`, `images`, each of `MEASURES` with `…_low` and `…_high`; NaN
        where undefined. The first row is of the run's own predictions.

    Raises:
        UserError: the model takes no metadata, the run has no predictions of the role, or its images
            are not there.
    """
    saved = run.model()
    if saved.config.metadata == "none":
        raise UserError(f"the model of run {run.path} takes no metadata: it has no metadata branch")
    predictions = run.predictions()
    if role not in (known := predictions["role"].unique()):
        raise UserError(f"run {run.path} has no predictions of role {role}{nearest(role, known)}")
    own = predictions[predictions["role"] == role]
    table = run.table(data)
    split = run.split(table)
    of_role = table[table["image_id"].isin(split.ids(role))].reset_index(drop=True)
    rows: list[dict[str, Any]] = []
    for name, reduced in KNOWN.items():
        if reduced(of_role).equals(of_role):
            found = own
        else:
            found = predict_table(saved, reduced(of_role), of=table, device=device, cache_root=cache)
            found = found.assign(role=role)
        metrics = score(found, saved.classes, run.recipe.evaluation, described=saved.described)
        scores = metrics["roles"][role]
        rows.append({"metadata": name, "role": role, "images": scores["images"]})
        for measure in METADATA_MEASURES:
            for key, end in (("value", ""), ("low", "_low"), ("high", "_high")):
                rows[-1][f"{measure}{end}"] = measured(scores, measure, key)
    result = pd.DataFrame(rows)
    write_csv(path, result)
    return result
