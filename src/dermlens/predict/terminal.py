"""Answers as a person reads them on a terminal, with their limits."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dermlens.labels import Vocabulary
from dermlens.predict.answers import Answer, described, percent
from dermlens.predict.priors import ClassPrior, shares_by_class

if TYPE_CHECKING:
    from dermlens.predict.predictor import Predictor

Found = TypeVar("Found")
NONE = "–"


def progress(found: Iterable[Found], count: int) -> Iterator[Found]:
    """Pass on what is found, with a bar on standard error where that is a terminal and there are several."""
    if count < 2 or not sys.stderr.isatty():
        yield from found
        return
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(found, total=count)


def render_answers(
    predictor: Predictor, answers: Mapping[str, Answer], prior: ClassPrior | None
) -> RenderableType:
    """One image in full, several in a row each, and what must be known to read them."""
    parts: list[RenderableType] = [_in_rows(answers)]
    if len(answers) == 1:
        ((name, one),) = answers.items()
        parts = [Text(f"{name}\n", style="bold"), *(Text(sentence) for sentence in one.sentences)]
        parts += [] if one.p is None else [_in_full(one, one.p, predictor.vocabulary)]
    numbers = any(one.p is not None for one in answers.values())
    return Group(*parts, *map(Text, notes(predictor, prior) if numbers else predictor.limits))


def notes(predictor: Predictor, prior: ClassPrior | None) -> Iterator[str]:
    """What belongs with every answer."""
    shown = prior or predictor.decision.prior
    if shown is None:
        yield "Nobody has calibrated this model: its probabilities are the network's own."
    else:
        shares = shares_by_class(shown, predictor.classes) or {}
        parts = ", ".join(f"{code} {100 * share:.2g} %" for code, share in shares.items())
        yield f"The probabilities hold for the case mix “{shown.name}”, {shown.words}: {parts}."
    yield from predictor.limits


def _in_full(one: Answer, p: Mapping[str, float], names: Vocabulary) -> Table:
    table = Table()
    table.add_column("diagnosis")
    table.add_column("probability", justify="right")
    table.add_column("cannot be ruled out")
    for code, share in sorted(p.items(), key=lambda entry: -entry[1]):
        inside = "yes" if code in (one.set or ()) else ""
        table.add_row(Text(described(code, names)), percent(share), inside)
    return table


def _in_rows(answers: Mapping[str, Answer]) -> Table:
    table = Table()
    for name in ("", "flagged", "most likely", "probability", "cannot be ruled out", "state"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for image_id, one in answers.items():
        state = one.state if not one.reason else f"{one.state}: {one.reason}"
        table.add_row(
            Text(image_id),
            NONE if one.flagged is None else "FLAGGED" if one.flagged else "no",
            Text(one.name or NONE),
            NONE if one.p is None or one.diagnosis is None else percent(one.p[one.diagnosis]),
            Text(NONE if one.set is None else " ".join(one.set)),
            Text(state),
        )
    return table
