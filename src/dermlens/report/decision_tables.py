"""Tables of decisions: melanoma and malignancy, suspicion, sets, abstention, and other data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dermlens.evaluation.detection import sought_recall
from dermlens.labels import Vocabulary
from dermlens.predict.decision_document import DecisionDocument
from dermlens.records import NONE, Metrics, number
from dermlens.records import estimate_text as estimate
from dermlens.report.tables import Table, error_by_chance, percent

if TYPE_CHECKING:
    import pandas as pd


# The tables of melanoma and malignancy: ranking, operating points, net benefit.
# What a card says of a decision: scaling, sets, abstention.


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


def scaling_words(document: DecisionDocument) -> list[str]:
    """How probabilities were made, and for whom they hold."""
    scaling = document.scaling
    kind = "vector" if scaling.scale is not None else "temperature" if scaling.bias is None else "bias"
    notes = [f"Scaling to equal class shares: `{kind}` ({SCALINGS[kind]})."]
    if found := scaling.log_loss:
        losses = ", ".join(f"{name} {number(loss, 3)}" for name, loss in found.items())
        notes.append(f"Log loss at equal shares, each image scaled without its lesion: {losses}.")
    if document.prior is not None:
        pairs = zip(document.classes, document.prior.shares, strict=True)
        shares = ", ".join(f"{code} {100 * share:.1f} %" for code, share in pairs)
        notes.append(
            f"Unless another case mix is asked for, the probabilities hold for `{document.prior.name}`,"
            f" {document.prior.words}: {shares}. The named diagnosis is the most probable one."
        )
    return notes


def calibration_table(overall: Mapping[str, Any], measured: pd.DataFrame | None) -> Table:
    """Calibration in the model's own case mix, and at equal class shares before and after scaling.

    Args:
        overall: of the role, in metrics.json, which has the own mix after scaling, with intervals.
        measured: as `read_calibration` gives it; none leaves the other rows out.
    """
    ours = ("own", "after", *(estimate(overall[name], 3) for name in CALIBRATION))
    rows = [ours]
    if measured is not None:
        cells = [
            (str(row["prior"]), str(row["stage"]), *(number(row[name], 3) for name in CALIBRATION))
            for row in measured.to_dict("records")
        ]
        rows = [ours if row[:2] == ours[:2] else row for row in cells]
    return Table(
        "Before and after scaling",
        ("case mix", "stage", "expected calibration error", "log loss", "Brier score"),
        rows,
        "Own: probabilities in the model's own case mix, of the images as they are, whose mix may be another."
        " Equal: every class weighs the same, and the probabilities are those of equal class shares."
        if measured is not None
        else "",
    )


def equal_table(scores: Mapping[str, Any]) -> Table | None:
    """Calibration at equal class shares, of all images and source by source; none without calibration."""
    found = scores.get("equal_prior")
    if not found:
        return None
    rows = []
    for name, one in {"all": found, **found["by_source"]}.items():
        cells = (number(one["mean_recall"]), number(one["log_loss"], 3), number(one["ece"], 3))
        rows.append(
            (
                name,
                str(one["images"]),
                *cells,
                error_by_chance(one),
                number(one["slope"]),
                number(one["intercept"]),
            )
        )
    columns = (
        "source", "images", "mean recall", "log loss", "calibration error", "by chance alone", "slope",
        "intercept",
    )  # fmt: skip
    note = (
        "Every class weighs the same. By chance: the error, and its band, were every probability exactly "
        "right. Slope below 1: too sure; intercept below 0: too high on the whole."
    )
    return Table("At equal class shares", columns, rows, note)


def decision_table(metrics: Metrics, roles: Sequence[str], marks: Mapping[str, str]) -> Table:
    """Mean recall, accuracy and recall of what is sought, of the diagnosis, role by role."""
    rows = []
    vocabulary = Vocabulary(metrics.classes, metrics.described)
    sought = f"{vocabulary.sought_name if vocabulary.sought else 'melanoma'} recall"
    for role in roles:
        scores = metrics.roles[role]
        overall = scores["overall"]
        shown = (overall["balanced_accuracy_isic"], overall["accuracy"], sought_recall(scores) or None)
        auc = estimate(scores["averages"]["macro"]["auc"], 3)
        rows.append((role, marks[role], str(scores["images"]), *(estimate(value) for value in shown), auc))
    columns = ("role", "used for", "images", "mean recall", "accuracy", sought, "mean AUC")
    return Table("As named", columns, rows, words=(0, 1))


def sets_words(document: DecisionDocument) -> list[str]:
    """What the sets promise, and for which classes."""
    sets = document.sets
    if sets is None:
        return []
    notes = [
        f"A set is made to hold the diagnosis of {percent(1 - sets.alpha)} of the new lesions of each class,"
        " among images like those of the calibration role; another clinic's are not."
    ]
    if sets.pooled:
        notes.append(
            f"Too few calibration lesions for a promise of its own: {', '.join(sets.pooled)}; the threshold"
            f" is that of {', '.join(sets.pool)} taken together, and the promise holds on their average."
        )
    return notes


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
    notes = [
        f"It abstains from {estimate(complement(answers['answered']))} of the images. Images that each reason"
        f" holds for, several for some: {reasons}. Where it answers, accuracy is"
        f" {estimate(answers['accuracy_answered'])}."
    ]
    what = "melanomas" if "melanomas" in answers else "malignant"
    if melanomas := answers.get(what):
        words = "melanomas" if what == "melanomas" else "malignant images"
        notes.append(
            f"Of {melanomas['images']} {words}, {melanomas['named']} are named; {melanomas['in_set']} are"
            f" not named but in the set; of the others the model abstains from {melanomas['abstained']}, and"
            f" {melanomas['missed']} are missed: neither named nor in the set, and it does not abstain."
        )
    return notes


def chance_words(scores: Mapping[str, Any]) -> list[str]:
    """What chance alone gives for the calibration error, and which way the probabilities err."""
    found = scores.get("calibration")
    if not found:
        return []
    return [
        "Were every probability exactly right, chance would give a calibration error of"
        f" {error_by_chance(found)} on these {scores['images']:,} images: one within that band shows no"
        " miscalibration, and does not rule it out.",
        f"Of the highest probability, the calibration slope is {estimate(found['slope'])} (below 1: too sure)"
        f" and the intercept {estimate(found['intercept'])} (below 0: too high on the whole).",
    ]


def complement(share: Mapping[str, float | None]) -> dict[str, float | None]:
    """One minus an estimate; its interval turns round."""

    def rest(value: float | None) -> float | None:
        return None if value is None else 1 - value

    return {"value": rest(share["value"]), "low": rest(share["high"]), "high": rest(share["low"])}


# What lies outside: images of other kinds, other sets, missing metadata.


METADATA_DIGITS = {"mean_recall": 2, "melanoma_recall": 2, "accuracy": 2, "mean_auc": 3, "ece": 3}


def out_of_distribution_table(found: Mapping[str, pd.DataFrame], kind: str | None) -> Table | None:
    """How well out-of-distribution images differ from familiar ones; none where it was not measured.

    Args:
        found: as `read_out_of_distribution` gives it.
        kind: the score that the model uses, which alone is shown; none for all of them.
    """
    rows = []
    for name, table in found.items():
        for row in table.to_dict("records"):
            if kind not in (None, row["score"]):
                continue
            auroc = {"value": row["auroc"], "low": row["low"], "high": row["high"]}
            flagged = (percent(row["flagged"]), percent(row["familiar_flagged"]))
            cells = (str(row["set"]), str(row["score"]), str(row["images"]), estimate(auroc, 3), *flagged)
            rows.append((*cells, f"`{name}`"))
    columns = ("set", "score", "images", "AUROC", "flagged", "familiar images flagged", "file")
    note = (
        "Familiar: new images of the known kind. In near_ood.csv each row is of a network that was trained"
        " without the class, by a recipe of its own, not of this model."
        if any(name.startswith("near") for name in found)
        else "Familiar: new images of the known kind."
    )
    return Table("Out-of-distribution images", columns, rows, note, words=(0, 1, 6)) if rows else None


def dermoscopy_table(found: pd.DataFrame | None) -> Table | None:
    """What is taken for dermoscopy, set by set; none where the model cannot tell.

    Args:
        found: as `read_dermoscopy` gives it.
    """
    if found is None:
        return None
    rows = [
        (
            str(row["set"]),
            str(row["dermoscopy"]),
            str(int(row["images"])),
            str(int(row["lesions"])),
            estimate({"value": row["taken"], "low": row["low"], "high": row["high"]}, 3),
            number(row["taken_unseen"], 3),
        )
        for row in found.to_dict("records")
    ]
    columns = ("set", "is dermoscopy", "images", "lesions", "taken for it", "had the set not been shown")
    note = (
        "What is not taken for dermoscopy gets no probabilities; the scores above are of all images. Shares"
        " by a boundary that was fitted without the picture's lesion, intervals over lesions; the last column"
        " by one that was fitted without any picture of the set, as for a source that is new to the model."
        " Where it stands is chosen on the same dermoscopy. Greyscale and varied: the same pictures without"
        " their colours, and each as another clinic may take it (round field of view, closer, softer, other"
        " light). `own`: roles selection and calibration. File: `dermoscopy.csv`."
    )
    return Table("What is taken for dermoscopy", columns, rows, note, words=(0, 1))


def missing_metadata_table(found: pd.DataFrame | None) -> Table | None:
    """Scores of a role's images, with less and less metadata; none where it was not measured.

    Args:
        found: as `read_missing_metadata` gives it.
    """
    if found is None:
        return None
    rows = []
    for row in found.astype(object).where(found.notna(), None).to_dict("records"):
        scores = [
            estimate({"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}, digits)
            for name, digits in METADATA_DIGITS.items()
        ]
        rows.append((str(row["metadata"]), *scores))
    columns = ("metadata", "mean recall", "melanoma recall", "accuracy", "mean AUC", "ECE")
    role, images = found["role"].iloc[0], found["images"].iloc[0]
    note = (
        f"Role {role}, the same {images} images; what is withheld is missing. File: `missing_metadata.csv`."
    )
    return Table("Missing metadata", columns, rows, note)


def other_sets_table(found: Mapping[str, Mapping[str, Any]], sought: str = "melanoma") -> Table | None:
    """Scores on labelled sets that the run was not split from; none where there are none.

    Args:
        found: as `read_other_sets` gives it.
        sought: what the malignant classes that are counted by themselves are called.
    """
    rows = []
    for name, scores in found.items():
        shown = (scores["overall"]["balanced_accuracy_isic"], scores["overall"]["accuracy"])
        rows.append(
            (
                name,
                str(scores["images"]),
                str(scores["classes_present"]),
                *(estimate(value) for value in shown),
                estimate(sought_recall(scores) or None),
                estimate(scores["averages"]["macro"]["auc"], 3),
            )
        )
    columns = ("set", "images", "classes in it", "mean recall", "accuracy", f"{sought} recall", "mean AUC")
    note = "Means run over the classes that the set has. No image of the run's own split is among them."
    return Table("Other sets", columns, rows, note) if rows else None
