"""The tables of melanoma and malignancy: ranking, operating points, net benefit, marks of suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dermlens.records import NONE, number
from dermlens.records import estimate_text as estimate
from dermlens.report.tables import GRADED, Table, percent

DETECTION = {
    "melanoma": "melanoma",
    "malignant": "malignant",
    "malignant_with_akiec": "malignant, with akiec",
    "malignant_without_akiec": "malignant, without akiec",
}
NET_BENEFIT_AT = (0.02, 0.06, 0.10, 0.20)


def operating_table(scores: Mapping[str, Any]) -> Table | None:
    """Sensitivity asked for, and what came of it; none where nothing is detected."""
    rows = []
    for name, found in scores.get("detection", {}).items():
        for point in found.get("operating_points", ()):
            rows.append(
                (
                    DETECTION.get(name, name),
                    number(point["sensitivity_aim"]),
                    number(point["threshold"], 3),
                    _fixed_on(point),
                    estimate(point["sensitivity"]),
                    estimate(point["specificity"]),
                )
            )
    columns = ("detected", "aim", "threshold", "fixed on", "sensitivity reached", "specificity")
    note = (
        "The threshold on the summed probability was chosen on the role under “fixed on” to reach the aimed "
        "sensitivity there; the last two columns are what it does on the images scored here."
    )
    return Table("Operating points", columns, rows, note) if rows else None


def probability_table(scores: Mapping[str, Any]) -> Table | None:
    """What acting at a few probabilities would catch and spare; none where nothing is detected."""
    rows = [
        (
            DETECTION.get(name, name),
            number(point["threshold"]),
            estimate(point["sensitivity"]),
            estimate(point["specificity"]),
        )
        for name, found in scores.get("detection", {}).items()
        for point in found.get("at_probability", ())
    ]
    columns = ("detected", "probability at least", "sensitivity", "specificity")
    note = "The probability is the sum over the group's classes; these thresholds were chosen on no images."
    return Table("At fixed probabilities", columns, rows, note) if rows else None


def _fixed_on(point: Mapping[str, Any]) -> str:
    """The role a threshold comes from, how many sought images that was, and whether it flatters."""
    role = point.get("threshold_role") or NONE
    positives = point.get("threshold_positives")
    words = f"{role} ({positives} sought)" if positives is not None else role
    return f"{words}: the same images, optimistic" if point.get("optimistic") else words


def detection_table(scores: Mapping[str, Any]) -> Table | None:
    """How well melanoma and malignancy are ranked."""
    rows = [
        (DETECTION.get(name, name), str(found.get("positives", NONE)), estimate(found.get("auc"), 3))
        for name, found in scores.get("detection", {}).items()
    ]
    nevi = scores.get("melanoma_vs_histology_nevi")
    if nevi:
        words = f"melanoma against the {nevi['nevi']} histology-confirmed nevi alone"
        rows.append((words, str(nevi["melanomas"]), estimate(nevi.get("auc"), 3)))
    columns = ("detected", "images of it", "AUC [interval]")
    note = (
        "akiec holds precursors and a carcinoma in situ, so malignancy is given with and without it; "
        "without, akiec counts among the others."
    )
    if nevi:
        note += (
            " Where nevi were mostly confirmed by follow-up and melanomas by histology, as in HAM10000, the "
            "ordinary comparison mixes how a lesion looks with how it was examined. Against nevi that also "
            "went to histology, both sides looked suspicious to someone: this is the harder and the fairer "
            "question."
        )
    return Table("Melanoma and malignancy", columns, rows, note) if rows else None


def net_benefit_table(scores: Mapping[str, Any]) -> Table | None:
    """Net benefit at a few thresholds, the model's with an interval where it has one; the curves show all."""
    rows = []
    for name, found in scores.get("detection", {}).items():
        for point in found.get("net_benefit", ()):
            if any(abs(point["threshold"] - wanted) < 1e-9 for wanted in NET_BENEFIT_AT):
                model = estimate({**point, "value": point.get("model")}, 3)
                cells = [model, *(number(point.get(who), 3) for who in ("all", "none"))]
                rows.append((DETECTION.get(name, name), f"{100 * point['threshold']:.0f} %", *cells))
    columns = ("detected", "threshold", "model", "act on all", "act on none")
    note = (
        "Net benefit is the share of images rightly acted on, less the share wrongly acted on weighed by the "
        "odds of the threshold (Vickers and Elkin 2006). A model helps at a threshold where its value is "
        "above both others."
    )
    return Table("Net benefit", columns, rows, note) if rows else None


# What a card says of suspicion: what the marks catch, and what a flag means where malignancy is rare.


def card_net_benefit_table(scores: Mapping[str, Any]) -> Table | None:
    """Net benefit for a card, which gives it only with intervals: scores of before have none."""
    points = [
        point for found in scores.get("detection", {}).values() for point in found.get("net_benefit", ())
    ]
    return net_benefit_table(scores) if any(point.get("low") is not None for point in points) else None


def suspicion_table(scores: Mapping[str, Any]) -> Table | None:
    """What is caught and what is flagged in vain at each mark; none for a model without marks."""
    found = scores.get("suspicion")
    if not found or not found["marks"]:
        return None
    prevalences = list(found["marks"][0]["ppv"])
    rows = []
    for mark in found["marks"]:
        notes = f"{percent(mark['catches'])} of malignant lesions"
        cells = (
            number(mark["threshold"], 3),
            estimate(mark["sensitivity"]),
            estimate(mark["benign_flagged"]),
        )
        between = number(mark["premalignant_flagged"])
        rows.append((notes, *cells, between, *(_ppv(mark, one) for one in prevalences)))
    columns = (
        "set to catch", "mark", "malignant flagged", "benign flagged", "pre-malignant flagged",
        *(f"PPV at {100 * float(one):g} %" for one in prevalences),
    )  # fmt: skip
    note = (
        f"Of {found['malignant']} malignant, {found['benign']} benign and {found['premalignant']} "
        f"pre-malignant images; AUC of malignant against benign {number(found['auc'], 3)}. PPV: of the "
        "lesions that are flagged, the share that is malignant where so many are, by Bayes' rule. No "
        "`--prior` moves the suspicion."
    )
    return Table("Suspicion of malignancy", columns, rows, note)


def _ppv(mark: Mapping[str, Any], prevalence: str) -> str:
    """A PPV as percent, with its interval where there is one: `2.5 % [2.3–2.8 %]`."""
    value, ends = mark["ppv"][prevalence], mark.get("ppv_interval", {}).get(prevalence, {})
    low, high = ends.get("low"), ends.get("high")
    if value is None or low is None or high is None:
        return percent(value)
    return f"{100 * value:.1f} % [{100 * low:.1f}–{100 * high:.1f} %]"


def suspicion_by_group(scores: Mapping[str, Any]) -> list[Table]:
    """The mark that catches most, by source, worst first, and by skin tone, darkest first, where known."""
    found = scores.get("suspicion")
    if not found or not found["marks"]:
        return []
    mark, tables = found["marks"][-1], []
    for kind, shown in (("source", number), ("skin_tone", estimate)):
        rows = [
            (
                name,
                str(one["malignant"]),
                str(one["benign"]),
                *map(shown, (one["sensitivity"], one["benign_flagged"])),
            )
            for name, one in mark.get(f"by_{kind}", {}).items()
        ]
        if kind == "source":
            rows.sort(key=lambda row: row[3])
        if rows:
            columns = (kind.replace("_", " "), "malignant", "benign", "malignant flagged", "benign flagged")
            caption = f"At the mark for {percent(mark['catches'])}, by {GRADED.get(kind, kind)}"
            tables.append(Table(caption, columns, rows))
    return tables
