"""A number of ours in a cell; those of other systems are what `python -m related` has published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd
import yaml

from dermlens.records import number
from paper.study import read_published


@dataclass(frozen=True, slots=True)
class Ours:
    """A number that was measured here.

    Attributes:
        value: mean over seeds.
        sd: over seeds, of five or more.
        each: of each seed, of several.
        low, high: 95 % interval over lesions, of a single seed, or of a related system's mean over seeds.
        seeds: how many.
        short: `6 of 63 epochs`, where less was trained than the authors did; else empty.
    """

    value: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 1
    short: str = ""
    each: tuple[float, ...] = ()


RELATED = "related"
"""Before the name of such a system in `tables.csv`, and the folder of its results, beside the study's."""
NAMES = {"macro_recall": "mean_recall", "weighted_recall": "accuracy", "auc_macro": "macro_auc"}
"""The tables' name of a metric → the comparison's; recall weighted by the classes' images is the accuracy."""
RECALL = "mean_recall"
NUMBERS = ("value", "low", "high", "seeds")

Related = Mapping[tuple[str, str], Ours]


def read_related(results: Path) -> dict[tuple[str, str], Ours]:
    """What was measured of the related systems, by system and metric.

    Args:
        results: of the study of the paper; those of the comparison lie beside it. Nothing is there without.

    Raises:
        UserError: the table is damaged.
    """
    folder = results.parent / RELATED
    found = {}
    for path in (folder / "table.csv", folder / "singletons" / "table.csv"):
        if not path.is_file():
            continue
        table = read_published(path, ["system", "metric", *NUMBERS], ["value", "seeds"])
        for row in table.to_dict("records"):
            low, high = (None if pd.isna(row[end]) else float(row[end]) for end in ("low", "high"))
            ours = Ours(float(row["value"]), None, low, high, int(row["seeds"]))
            found[str(row["system"]), str(row["metric"])] = ours
    return found


def of_related(related: Related, system: str, metric: str) -> Ours | None:
    """A number of a system such as `related/crckd`; none where it was not run."""
    return related.get((system.removeprefix(f"{RELATED}/"), NAMES.get(metric, metric)))


def ours_by_work(related: Related) -> dict[str, str]:
    """For Table 1: the mean recall of the systems that each work has here, by its number such as `[2]`."""
    text = files("related").joinpath("systems.yaml").read_text(encoding="utf-8")
    by_work: dict[str, list[str]] = {}
    for name, system in yaml.safe_load(text).items():
        if "cites" in system:
            by_work.setdefault(system["cites"], []).append(f"{name} {_in_words(related.get((name, RECALL)))}")
    return {work: "; ".join(systems) for work, systems in by_work.items()}


def _in_words(ours: Ours | None) -> str:
    if ours is None:
        return "not run"
    within = "" if ours.low is None else f" [{number(ours.low, 2)}–{number(ours.high, 2)}]"
    return f"{number(ours.value, 3)}{within}"
