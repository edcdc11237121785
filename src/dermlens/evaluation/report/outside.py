"""The tables of what lies outside: strangers that the model should notice, other sets that were scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dermlens.evaluation.operating_points import sought_recall
from dermlens.evaluation.report.numbers import estimate, number, percent
from dermlens.evaluation.report.tables import Table

if TYPE_CHECKING:
    import pandas as pd

TOLD_DIGITS = {"mean_recall": 2, "melanoma_recall": 2, "accuracy": 2, "mean_auc": 3, "ece": 3}


def strangers_table(found: Mapping[str, pd.DataFrame], kind: str | None) -> Table | None:
    """How well strangers are told from new images of the known kind; none where it was not measured.

    Args:
        found: as `read_strangers` gives it.
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
    columns = ("strangers", "score", "images", "AUROC", "flagged", "familiar images flagged", "file")
    note = (
        "Familiar: new images of the known kind. In near_ood.csv each row is of a network that was trained"
        " without the class, by a recipe of its own, not of this model."
        if any(name.startswith("near") for name in found)
        else "Familiar: new images of the known kind."
    )
    return Table("Strangers", columns, rows, note, words=(0, 1, 6)) if rows else None


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
        " Where it stands is chosen on the same dermoscopy. `own`: roles selection and calibration. File:"
        " `dermoscopy.csv`."
    )
    return Table("What is taken for dermoscopy", columns, rows, note, words=(0, 1))


def told_table(found: pd.DataFrame | None) -> Table | None:
    """Scores of a role's images, told less and less of the patients; none where it was not measured.

    Args:
        found: as `read_told` gives it.
    """
    if found is None:
        return None
    rows = []
    for row in found.astype(object).where(found.notna(), None).to_dict("records"):
        scores = [
            estimate({"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}, digits)
            for name, digits in TOLD_DIGITS.items()
        ]
        rows.append((str(row["told"]), *scores))
    columns = ("told", "mean recall", "melanoma recall", "accuracy", "mean AUC", "ECE")
    role, images = found["role"].iloc[0], found["images"].iloc[0]
    note = f"Role {role}, the same {images} images; what is withheld is given as missing. File: `told.csv`."
    return Table("What the model is told of the patient", columns, rows, note)


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
