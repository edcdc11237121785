"""What a card says of a decision: scaling, the diagnosis rule, sets, abstention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dermlens.decision.document import DecisionDocument, Scaling
from dermlens.evaluation.operating_points import sought_recall
from dermlens.evaluation.report.numbers import NONE, estimate, number, percent
from dermlens.evaluation.report.tables import Table
from dermlens.labels import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

SCALINGS = {
    "temperature": "one temperature for all classes",
    "bias": "a temperature, and a bias for each class",
    "vector": "a scale and a bias for each class",
}
CALIBRATION = ("ece", "log_loss", "brier")


def judging_role(roles: Sequence[str], *, decided: bool) -> str:
    """The role that shows scaling, sets and abstention best.

    They were fitted on the calibration role, so without a test the selection role takes its place.

    Args:
        roles: the scored ones, the headline role first.
        decided: whether the run has a fitted decision.
    """
    preferred = [role for role in ("test", "selection") if role in roles] if decided else []
    return preferred[0] if preferred else roles[0]


def scaling_kind(scaling: Scaling) -> str:
    """The row of `SCALINGS`."""
    if scaling.scale is not None:
        return "vector"
    return "temperature" if scaling.bias is None else "bias"


def scaling_words(document: DecisionDocument) -> list[str]:
    """How probabilities were made, and for whom they hold."""
    kind = scaling_kind(document.scaling)
    said = [f"Scaling: `{kind}` ({SCALINGS[kind]}), fitted on the calibration role."]
    if tried := document.scaling.cross_validated:
        losses = ", ".join(f"{name} {number(loss, 3)}" for name, loss in tried.items())
        said.append(f"Log loss in cross-validation over that role's lesions: {losses}.")
    if document.prior is not None:
        shares = _by_class(document.classes, [f"{100 * share:.1f} %" for share in document.prior])
        said.append(f"The probabilities hold where the class shares are {shares}.")
    return said


def calibration_table(overall: Mapping[str, Any], measured: pd.DataFrame | None) -> Table:
    """Calibration before and after scaling, at the natural and at the equal prior.

    Args:
        overall: of the role, in metrics.json, which has the natural prior after scaling, with intervals.
        measured: as `read_calibration` gives it; none leaves the other rows out.
    """
    ours = ("natural", "after", *(estimate(overall[name], 3) for name in CALIBRATION))
    rows = [ours]
    if measured is not None:
        cells = [
            (str(row["prior"]), str(row["stage"]), *(number(row[name], 3) for name in CALIBRATION))
            for row in measured.to_dict("records")
        ]
        rows = [ours if row[:2] == ours[:2] else row for row in cells]
    return Table(
        "Before and after scaling",
        ("class prior", "stage", "expected calibration error", "log loss", "Brier score"),
        rows,
        "Natural: the images as they are. Equal: every class weighs the same, and the probabilities are"
        " those of a population with equal shares; “before, shifted” moves the unscaled ones there by Bayes'"
        " rule."
        if measured is not None
        else "",
    )


def rule_words(document: DecisionDocument) -> list[str]:
    """How a diagnosis is named."""
    rule = document.rule
    if rule.kind == "argmax":
        said = ["Diagnosis rule: `argmax`, the class of the highest probability."]
    else:
        tau = f", τ = {number(rule.tau)}" if rule.tau is not None else ""
        said = [
            f"Diagnosis rule: `{rule.kind}`{tau}, the class with the highest log p + offset; offsets, fixed"
            f" on the selection role: {_by_class(document.classes, map(number, rule.offsets))}."
        ]
    if rule.cross_validated:
        recalls = ", ".join(f"{name} {number(value)}" for name, value in rule.cross_validated.items())
        said.append(f"Mean recall in cross-validation over the selection role's lesions: {recalls}.")
    return said


def _by_class(classes: Sequence[str], shown: Iterable[str]) -> str:
    return ", ".join(f"{code} {value}" for code, value in zip(classes, shown, strict=True))


def decision_table(metrics: Mapping[str, Any], roles: Sequence[str], marks: Mapping[str, str]) -> Table:
    """Mean recall, accuracy and recall of what is sought, of the diagnosis, role by role."""
    rows = []
    vocabulary = Vocabulary(metrics["classes"], metrics.get("described"))
    sought = f"{vocabulary.sought_name if vocabulary.sought else 'melanoma'} recall"
    for role in roles:
        scores = metrics["roles"][role]
        overall = scores["overall"]
        shown = (overall["balanced_accuracy_isic"], overall["accuracy"], sought_recall(scores) or None)
        auc = estimate(scores["averages"]["macro"]["auc"], 3)
        rows.append((role, marks[role], str(scores["images"]), *(estimate(value) for value in shown), auc))
    columns = ("role", "used for", "images", "mean recall", "accuracy", sought, "mean AUC")
    return Table("At this one rule", columns, rows, words=(0, 1))


def sets_words(document: DecisionDocument) -> list[str]:
    """What the sets promise, and for which classes."""
    sets = document.sets
    if sets is None:
        return []
    said = [
        f"A set is made to hold the diagnosis of {percent(1 - sets.alpha)} of the new lesions of each class,"
        " among images like those of the calibration role; another clinic's are not."
    ]
    if sets.pooled:
        said.append(
            f"Too few calibration lesions for a promise of its own: {', '.join(sets.pooled)}; the threshold"
            f" is that of {', '.join(sets.pool)} taken together, and the promise holds on their average."
        )
    return said


def sets_table(scores: Mapping[str, Any], document: DecisionDocument | None) -> Table:
    """Coverage and size of the sets, abstention, and recall where the model answers, by class."""
    answers, sets = scores["answers"], document.sets if document else None
    rows = []
    for index, (code, found) in enumerate(answers["per_class"].items()):
        calibration = str(sets.lesions[index]) if sets else NONE
        shares = [estimate(found[name]) for name in ("coverage", "set_size", "abstained", "recall_answered")]
        rows.append((code, str(scores["per_class"][code]["support"]), calibration, *shares))
    of_all = [estimate(answers[name]) for name in ("coverage", "set_size")]
    rest = [estimate(complement(answers["answered"])), estimate(answers["mean_recall_answered"])]
    calibration = str(sum(sets.lesions)) if sets else NONE
    rows.append(("all", str(scores["images"]), calibration, *of_all, *rest))
    columns = (
        "class", "n", "calibration lesions", "coverage", "mean size of the set", "abstained",
        "recall where it answers",
    )  # fmt: skip
    return Table("", columns, rows, "The last column of “all” is the mean over classes.")


def abstention_words(scores: Mapping[str, Any]) -> list[str]:
    """How often the model abstains and why, and what became of the melanomas."""
    answers = scores["answers"]
    reasons = ", ".join(f"“{reason}” {n}" for reason, n in answers["reasons"].items())
    said = [
        f"It abstains from {estimate(complement(answers['answered']))} of the images. Images that each reason"
        f" holds for, several for some: {reasons}. Where it answers, accuracy is"
        f" {estimate(answers['accuracy_answered'])}."
    ]
    what = "melanomas" if "melanomas" in answers else "malignant"
    if melanomas := answers.get(what):
        words = "melanomas" if what == "melanomas" else "malignant images"
        said.append(
            f"Of {melanomas['images']} {words}, {melanomas['named']} are named; {melanomas['in_set']} are"
            f" not named but in the set; of the others the model abstains from {melanomas['abstained']}, and"
            f" {melanomas['missed']} are missed: neither named nor in the set, and it does not abstain."
        )
    return said


def chance_words(scores: Mapping[str, Any]) -> list[str]:
    """What chance alone gives for the calibration error, and which way the probabilities err."""
    found = scores.get("calibration")
    if not found:
        return []
    chance = found["ece_by_chance"]
    band = {"value": chance["mean"], "low": chance["low"], "high": chance["high"]}
    return [
        f"Were every probability exactly right, chance would give a calibration error of {estimate(band, 3)}"
        f" on these {scores['images']:,} images: one within that band shows no miscalibration, and does not"
        " rule it out.",
        f"Of the highest probability, the calibration slope is {estimate(found['slope'])} (below 1: too sure)"
        f" and the intercept {estimate(found['intercept'])} (below 0: too high on the whole).",
    ]


def complement(share: Mapping[str, float | None]) -> dict[str, float | None]:
    """One minus an estimate; its interval turns round."""

    def rest(value: float | None) -> float | None:
        return None if value is None else 1 - value

    return {"value": rest(share["value"]), "low": rest(share["high"]), "high": rest(share["low"])}
