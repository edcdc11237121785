"""The report's first page: each claim, what was printed, what was found, in words and in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Any, Literal

import pandas as pd
import yaml
from matplotlib.figure import Figure
from pydantic import Field

from dermlens.documents import Section
from dermlens.report.plots import BLACK, BLUE, ORANGE, panels
from paper.report.cells import Cell

Outcome = Literal["higher", "lower", "open"]
POINTS_SHOWN = 10.0
"""Half of the width of the picture, in points."""
LEAST = 1.0
"""Points of attention on the lesion, beyond an even map's, that would be worth a word."""


class Claim(Section):
    """A claim of the paper.

    Attributes:
        claim: in a sentence.
        cells: the printed cells behind it: table, row, column.
        printed: what there is to know of them.
        contrast: the arm and the reference that decide it.
        attention: the arm whose attention decides it.
        parameters: the two backbones whose counts decide it.
        latency: the system whose time for one image decides it, and how many times the reference's it is said
            to be.
        effect: what the picture calls the difference.
        found: what is compared, in words; without a comparison, what it needs.
        higher, lower, open: what each outcome means.
    """

    claim: str
    cells: list[tuple[str, str, str]]
    printed: str
    contrast: tuple[str, str] | None = None
    attention: str | None = None
    parameters: tuple[str, str] | None = None
    latency: tuple[str, float] | None = None
    effect: str = ""
    found: Annotated[str, Field(min_length=1)]
    higher: str = ""
    lower: str = ""
    open: str = ""


def load_claims() -> list[Claim]:
    """The claims in the order of the page."""
    document = yaml.safe_load(files("paper").joinpath("claims.yaml").read_text(encoding="utf-8"))
    return [Claim(**entry) for entry in document]


def answer_claims(
    cells: Sequence[Cell],
    contrasts: pd.DataFrame,
    attention: Mapping[str, pd.DataFrame],
    parameters: Mapping[str, int],
    latency: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """What the page says of each claim.

    Args:
        cells: of all tables.
        contrasts: all that were run.
        attention: where it goes, by arm.
        parameters: of each backbone's network as trained.
        latency: of each system, as `read_latency` gives it.

    Returns:
        A row each: `claim`, `effect`, `printed` numbers, `note`, `found`, `verdict`, `outcome`, and in points
        `difference`, `low`, `high`, which are none where nothing was compared.
    """
    printed = {(cell.table, cell.row, cell.column): cell.printed for cell in cells}
    rows = []
    for one in load_claims():
        outcome, numbers, words = _found(one, contrasts, attention, parameters, latency or {})
        rows.append(
            {
                "claim": one.claim,
                "effect": one.effect,
                "printed": [
                    f"{_title(table)}, {row}, {column}: {_number(printed[table, row, column])}"
                    for table, row, column in one.cells
                ],
                "note": one.printed,
                "found": words,
                "verdict": getattr(one, outcome) or "Not run yet.",
                "outcome": outcome,
                **dict(zip(("difference", "low", "high"), numbers, strict=True)),
            }
        )
    return rows


def _found(
    one: Claim,
    contrasts: pd.DataFrame,
    attention: Mapping[str, pd.DataFrame],
    parameters: Mapping[str, int],
    latency: Mapping[str, Mapping[str, Any]],
) -> tuple[Outcome, tuple[float | None, ...], str]:
    """The outcome, the difference with its interval in points, and both in words."""
    nothing: tuple[None, None, None] = (None, None, None)
    if one.parameters is not None and all(name in parameters for name in one.parameters):
        large, small = (parameters[name] for name in one.parameters)
        return "higher", nothing, f"{one.found}: {large:,} and {small:,}, {large / small:.0f} times fewer."
    if one.latency is not None and one.latency[0] in latency:
        times = latency[one.latency[0]]
        low, middle, high = (f"{times[name]:.0f}" for name in ("low", "ratio", "high"))
        words = f"{one.found}: {middle} [{low}–{high}] times as long."
        if times["low"] >= one.latency[1]:
            return "higher", nothing, words
        return "lower" if times["high"] < one.latency[1] else "open", nothing, words
    if one.contrast is not None:
        own = contrasts[(contrasts["arm"] == one.contrast[0]) & (contrasts["reference"] == one.contrast[1])]
        if len(own):
            row = own.iloc[0]
            outcome: Outcome = (
                "open" if row["verdict"] == "inconclusive" else "higher" if row["difference"] > 0 else "lower"
            )
            numbers = tuple(100 * float(row[name]) for name in ("difference", "low", "high"))
            return outcome, numbers, _words(one.found, numbers)
    if one.attention is not None and one.attention in attention:
        table = attention[one.attention]
        [found] = table[table["quantity"] == "attention_minus_area"].to_dict("records")
        ends = [found["value"] if pd.isna(found[name]) else found[name] for name in ("value", "low", "high")]
        numbers = tuple(100 * float(end) for end in ends)
        outcome = "higher" if numbers[1] > 0 else "lower" if numbers[2] < LEAST else "open"
        return outcome, numbers, _words(one.found, numbers)
    return "open", nothing, one.found


def _words(found: str, numbers: Sequence[float]) -> str:
    value, low, high = (f"{number:+.1f}".replace("-", "−").replace("−0.0", "0.0") for number in numbers)
    return f"{found}: {value} points [{low}, {high}]."


def _number(printed: str) -> str:
    return f"{int(printed):,}" if printed.isdigit() else printed


def _title(table: str) -> str:
    return f"Table {table.removeprefix('table_').upper()}"


def picture(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """What each thing adds, with its interval."""
    shown = [row for row in rows if row["difference"] is not None]
    figure, [axis] = panels(height=1.3 + 0.55 * len(shown), width=7.6)
    for place, row in enumerate(shown):
        decided = row["outcome"] != "open"
        color = BLUE if decided else ORANGE
        axis.hlines(place, row["low"], row["high"], color=color, linewidth=2.4)
        axis.plot(row["difference"], place, "o" if decided else "s", color=color, markersize=8)
    for marker, color, label in (("o", BLUE, "decided"), ("s", ORANGE, "undecided")):
        axis.plot([], [], marker, color=color, label=label)
    axis.axvline(0, color=BLACK, linewidth=0.9)
    axis.set_yticks(range(len(shown)), [row["effect"] for row in shown])
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.set_xlim(-POINTS_SHOWN, POINTS_SHOWN)
    axis.grid(False, axis="y")
    axis.set_xlabel("points of mean recall that it adds; the line is the 95 % interval")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure
