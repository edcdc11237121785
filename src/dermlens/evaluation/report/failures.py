"""Where a model is known to fail, read off its own scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dermlens.evaluation.report.numbers import NONE, estimate, percent
from dermlens.evaluation.report.tables import Table

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
        (recall["value"], code, f"{kind} {name}", recall)
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
