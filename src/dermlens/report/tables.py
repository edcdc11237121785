"""The tables of the report, as plain cells; the template only draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dermlens.labels import Vocabulary
from dermlens.records import NONE, Metrics, number
from dermlens.records import estimate_text as estimate

if TYPE_CHECKING:
    import pandas as pd


# How the page and the card write numbers: few digits, an interval, a dash where there is none.


ROLE_ORDER = ("test", "calibration", "selection")
"""The most trustworthy first: the headline role is the first of these that was scored."""


def environment(
    package: str = "dermlens.report", finalize: Callable[[object], object] | None = None
) -> Environment:
    """The one environment of templates: pages are escaped, and a missing value is an error instead of a gap.

    Args:
        package: that has a folder `templates`.
        finalize: what becomes of a value before it is written.
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )


def percent(share: float | None) -> str:
    """A share as whole percent, `< 1 %` where it is small but not nothing."""
    if share is None or not math.isfinite(share):
        return NONE
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def count(found: object) -> str | None:
    """A count of parameters, thousands apart, whether it stands alone or under `trainable`."""
    if isinstance(found, Mapping):
        found = found.get("trainable")
    return f"{found:,}" if isinstance(found, int) else None


def duration(seconds: float | None) -> str:
    """Seconds in the unit a person would use."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def in_role_order(roles: Iterable[str]) -> list[str]:
    """Scored roles, the headline one first; roles that are not of a split come last, in their own order."""
    return sorted(roles, key=lambda role: ROLE_ORDER.index(role) if role in ROLE_ORDER else len(ROLE_ORDER))


OVERALL = {
    "balanced_accuracy_isic": (
        "mean recall of the diagnosis (ISIC's balanced accuracy; a tie counts as wrong)",
        2,
    ),
    "balanced_accuracy_ovr": (
        "mean of (sensitivity + specificity) / 2 of the diagnosis (the paper's balanced accuracy)",
        2,
    ),
    "accuracy": ("accuracy of the diagnosis", 2),
    "ece": ("expected calibration error of the probabilities", 3),
    "brier": ("Brier score of the probabilities", 3),
    "log_loss": ("log loss of the probabilities", 3),
}
AVERAGED = {"precision": 2, "recall": 2, "specificity": 2, "f1": 2, "auc": 3}
NAMES = {"f1": "F1", "auc": "AUC"}


@dataclass(frozen=True, slots=True)
class Table:
    """One table: the first cell of a row is its header.

    Attributes:
        caption: what it shows.
        columns: the column headers.
        rows: the cells, as text.
        note: what the reader needs to know below it.
        words: places of the columns that hold words, not numbers.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    words: Sequence[int] = (0,)

    @property
    def footnotes(self) -> list[str]:
        """The note, and what a dash means where there is one."""
        dashed = any(cell.startswith(NONE) for row in self.rows for cell in row[1:])
        explained = NONE in self.note
        dash = (
            [f"{NONE} : not defined, or there are too few images to say"] if dashed and not explained else []
        )
        return ([self.note] if self.note else []) + dash


def present(*found: Table | None) -> list[Table]:
    """Those of the tables that there are."""
    return [table for table in found if table]


def recall_table(scores: Mapping[str, Any], role: str, vocabulary: Vocabulary) -> Table:
    """Recall of every class: the first table of the report."""
    rows = []
    for code, of_class in scores["per_class"].items():
        found = f"{of_class['tp']} of {of_class['support']}"
        rows.append((code, estimate(of_class["recall"]), found, vocabulary.name(code)))
    return Table(
        f"Recall per class, role {role}",
        ("class", "recall [interval]", "named correctly", "name"),
        rows,
        "Recall (sensitivity) is the share of a class's images that the model named as that class. Its "
        "interval is Clopper and Pearson's, of as many independent images as these, which come in lesions, "
        "are worth (Korn and Graubard).",
        words=(0, 3),
    )


def confusion_table(scores: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """The confusion matrix as text, for who cannot see the picture."""
    rows = []
    for code, counts in zip(classes, scores["confusion"], strict=True):
        total = sum(counts)
        cells = [f"{count} ({100 * count / total:.0f} %)" if total else f"{count}" for count in counts]
        rows.append((code, *cells, str(total)))
    return Table("Confusion matrix: images and percent of the row", ("true class", *classes, "all"), rows)


def overall_table(scores: Mapping[str, Any], role: str) -> Table:
    """One number for all classes, in several ways."""
    rows = [
        (words, estimate(scores["overall"].get(name), digits)) for name, (words, digits) in OVERALL.items()
    ]
    rows.insert(
        3,
        ("AUC of the probabilities, mean over classes", estimate(scores["averages"]["macro"].get("auc"), 3)),
    )
    rows += calibration_rows(scores)
    return Table(
        f"Overall scores, role {role}",
        ("score", "value [interval]"),
        rows,
        "Of expected calibration error, Brier score and log loss, less is better. The calibration error "
        "grows by resampling, so its interval can lie above its value; it shows something only where it lies "
        "above what chance would give. A slope below 1 is of probabilities that are too sure, an intercept "
        "below 0 of ones that are too high on the whole.",
    )


def calibration_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What chance alone gives for the calibration error, slope and intercept; nothing for old scores."""
    found = scores.get("calibration")
    if not found:
        return []
    return [
        ("the same error by chance, were every probability exactly right", error_by_chance(found)),
        ("calibration slope of the highest probability (1 is right)", estimate(found["slope"])),
        ("calibration intercept, the slope kept at 1 (0 is right)", estimate(found["intercept"])),
    ]


def error_by_chance(found: Mapping[str, Any]) -> str:
    """The calibration error that chance alone gives, with its band."""
    chance = found["ece_by_chance"]
    return estimate(chance | {"value": chance["mean"]}, 3)


def averages_table(scores: Mapping[str, Any]) -> Table:
    """Macro, micro and weighted means."""
    columns = ("mean", *(NAMES.get(name, name) for name in AVERAGED))
    rows = [
        (kind, *(estimate(of_kind.get(name), digits) for name, digits in AVERAGED.items()))
        for kind, of_kind in scores["averages"].items()
    ]
    note = "macro: every class counts alike; micro: every image; weighted: every class by its images."
    return Table("Means over classes", columns, rows, note)


def class_table(scores: Mapping[str, Any]) -> Table:
    """Every score of every class."""
    rows = []
    for code, of_class in scores["per_class"].items():
        counts = [str(of_class[name]) for name in ("tp", "fp", "fn", "tn")]
        shares = [estimate(of_class.get(name)) for name in ("precision", "recall", "specificity", "f1")]
        rows.append((code, *counts, *shares))
    columns = ("class", "TP", "FP", "FN", "TN", "precision", "recall", "specificity", "F1")
    return Table("Each class against the rest", columns, rows)


def ranking_table(scores: Mapping[str, Any]) -> Table:
    """The areas under the curves."""
    rows = [
        (
            code,
            str(of_class["support"]),
            *(estimate(of_class.get(name), 3) for name in ("auc", "partial_auc_sens80", "average_precision")),
        )
        for code, of_class in scores["per_class"].items()
    ]
    columns = ("class", "n", "AUC", "partial AUC at sensitivity ≥ 0.8", "average precision")
    return Table("Areas under the curves", columns, rows)


def roles_table(metrics: Metrics, roles: Sequence[str], marks: Mapping[str, str]) -> Table:
    """The scored roles side by side.

    Args:
        metrics: metrics.json.
        roles: in order, the headline role first.
        marks: what each role was used for, in two or three words.
    """
    scored = [metrics.roles[role] for role in roles]
    rows = [("images", *(str(scores["images"]) for scores in scored))]
    rows.append(("lesions", *(str(scores["lesions"]) for scores in scored)))
    rows.append(("used for", *(marks[role] for role in roles)))
    for code in metrics.classes:
        cells = [estimate(scores["per_class"][code]["recall"]) for scores in scored]
        rows.append((f"recall of {code}", *cells))
    for name, (words, digits) in OVERALL.items():
        rows.append((words, *(estimate(scores["overall"].get(name), digits) for scores in scored)))
    means = [estimate(scores["averages"]["macro"].get("auc"), 3) for scores in scored]
    rows.append(("AUC of the probabilities, mean over classes", *means))
    return Table("The scored roles side by side", ("score", *roles), rows)


def reliability_table(scores: Mapping[str, Any]) -> Table:
    """The bins of the reliability diagram."""
    rows = [
        (
            f"{number(cell['low'])}–{number(cell['high'])}",
            str(cell["count"]),
            number(cell["confidence"]),
            number(cell["accuracy"]),
        )
        for cell in scores.get("reliability", ())
        if cell["count"]
    ]
    columns = ("probability", "images", "mean probability", "share right")
    return Table("Reliability of the named class's probability", columns, rows)


GRADED = {"skin_tone": "skin tone (0 darkest to 5 lightest, as MILK10k grades it)"}
"""What kinds of groups are called in a caption, where their name does not say it."""


def subgroup_tables(scores: Mapping[str, Any], classes: Sequence[str]) -> list[Table]:
    """Recall in groups of patients, kept back where a group has few images of a class."""
    tables = []
    for kind, groups in scores.get("subgroups", {}).items():
        if not groups:
            continue
        found = list(groups.values())
        rows = [("images", *(str(group["images"]) for group in found))]
        for code in classes:
            recalls = [group["per_class_recall"].get(code) for group in found]
            cells = [NONE if one is None else f"{estimate(one)}\nn = {one['n']}" for one in recalls]
            rows.append((f"recall of {code}", *cells))
        for words, name in (("mean recall", "balanced_accuracy_isic"), ("accuracy", "accuracy")):
            rows.append((words, *(estimate(group.get(name)) for group in found)))
        note = (
            f"{NONE} : fewer than 20 images of that class in the group (n says how many), and for the mean "
            "recall, of any class: too few for a number."
        )
        tables.append(Table(f"By {GRADED.get(kind, kind)}", ("score", *groups), rows, note))
    return tables


def counts_table(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> Table:
    """Images per class and role."""
    rows = [(code, *(str(of_role.get(code, 0)) for of_role in counts.values())) for code in classes]
    rows.append(("all", *(str(sum(of_role.values())) for of_role in counts.values())))
    return Table("Images per class and role", ("class", *counts), rows)


def people_table(people: pd.DataFrame) -> Table:
    """Age and sex of the images of each role."""
    roles = [(str(role), rows) for role, rows in people.groupby("role", sort=False)]
    rows = [("images", *(str(len(of_role)) for _, of_role in roles))]
    ages = []
    for _, of_role in roles:
        low, middle, high = of_role["age"].quantile([0.25, 0.5, 0.75])
        known = of_role["age"].notna().any()
        ages.append(f"{number(middle, 0)} [{number(low, 0)}–{number(high, 0)}]" if known else NONE)
    rows.append(("median age [quartiles], years", *ages))
    rows.append(("without an age", *(percent(of_role["age"].isna().mean()) for _, of_role in roles)))
    for sex in sorted(people["sex"].unique()):
        rows.append((f"sex {sex}", *(percent((of_role["sex"] == sex).mean()) for _, of_role in roles)))
    return Table("Age and sex per role", ("measure", *(role for role, _ in roles)), rows)


@dataclass(frozen=True, slots=True)
class Facts:
    """A list of terms and what they are in this run."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, term: str, value: object) -> None:
        """Add a term unless its value is missing."""
        if value not in (None, ""):
            self.rows.append((term, str(value)))


# Where a model is known to fail, read off its own scores.


CONFUSIONS, CLASSES, GROUPS = 6, 3, 6
"""How many of each are shown."""


def confusions_table(scores: Mapping[str, Any], classes: Sequence[str]) -> Table | None:
    """The confusions of the most images; none where every image is named rightly."""
    found = [
        (count, code, named, sum(counts))
        for code, counts in zip(classes, scores["confusion"], strict=True)
        for named, count in zip(classes, counts, strict=True)
        if named != code and count
    ]
    found.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    rows = [
        (code, named, f"{count} of {total}", percent(count / total))
        for count, code, named, total in found[:CONFUSIONS]
    ]
    columns = ("true class", "named", "images", "share of the true class")
    return Table("The most frequent confusions", columns, rows) if rows else None


def classes_table(scores: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """The classes of the lowest recall, and what they are taken for."""
    measured = [code for code in classes if scores["per_class"][code]["recall"]["value"] is not None]
    measured.sort(key=lambda code: scores["per_class"][code]["recall"]["value"])
    rows = []
    for code in measured[:CLASSES]:
        counts = dict(zip(classes, scores["confusion"][list(classes).index(code)], strict=True))
        wrong = {named: count for named, count in counts.items() if named != code and count}
        most = max(wrong, key=lambda named: wrong[named]) if wrong else None
        taken = f"{most} ({wrong[most]})" if most else NONE
        of_class = scores["per_class"][code]
        rows.append((code, str(of_class["support"]), estimate(of_class["recall"]), taken))
    return Table("The classes of the lowest recall", ("class", "n", "recall", "most often taken for"), rows)


def groups_table(scores: Mapping[str, Any]) -> Table | None:
    """The groups of patients in which a class is recalled least; none where no group has images enough."""
    found = [
        (recall["value"], code, f"{kind.replace('_', ' ')} {name}", recall)
        for kind, groups in scores.get("subgroups", {}).items()
        for name, group in groups.items()
        for code, recall in group["per_class_recall"].items()
        if recall["value"] is not None
    ]
    found.sort(key=lambda entry: entry[:3])
    rows = [(code, group, str(recall["n"]), estimate(recall)) for _, code, group, recall in found[:GROUPS]]
    note = (
        f"The lowest of {len(found)} such recalls, each of 20 images or more: the lowest of many is low in"
        " part by chance, so look at the intervals."
    )
    columns = ("class", "group", "n", "recall")
    return Table("The groups of the lowest recall", columns, rows, note) if rows else None
