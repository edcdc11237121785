"""Answers as a person reads them on a terminal, their limits beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dermlens.deploy.answers import Answer
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.prior import shares_of
from dermlens.labels import Vocabulary

Found = TypeVar("Found")
WITHHELD = "–"


def progress(found: Iterable[Found], count: int) -> Iterator[Found]:
    """Pass on what is found, with a bar on standard error where that is a terminal and there are several."""
    if count < 2 or not sys.stderr.isatty():
        yield from found
        return
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(found, total=count)


def render_answers(
    predictor: Predictor, answers: Mapping[str, Answer], prior: Sequence[float] | None
) -> RenderableType:
    """One image in full, several in a row each, and what must be known to read them."""
    parts: list[RenderableType] = [_in_rows(answers)]
    if len(answers) == 1:
        ((image_id, one),) = answers.items()
        parts = [] if one.p is None else [_in_full(image_id, one, one.p, predictor.vocabulary)]
        parts += map(Text, _said_of(image_id, one))
    return Group(*parts, *map(Text, notes(predictor, prior)))


def notes(predictor: Predictor, prior: Sequence[float] | None) -> Iterator[str]:
    """What belongs beside every answer."""
    shares = shares_of(predictor, prior)
    if shares is None:
        yield "Nobody has said for which class shares these probabilities hold."
    else:
        told = ", ".join(f"{code} {100 * share:.2g} %" for code, share in shares.items())
        yield f"The probabilities hold where the class shares are {told}."
    yield from predictor.limits


def _in_full(image_id: str, one: Answer, p: Mapping[str, float], names: Vocabulary) -> Table:
    table = Table(title=Text(image_id))
    table.add_column("")
    table.add_column("diagnosis")
    table.add_column("probability", justify="right")
    table.add_column("set")
    for code, share in sorted(p.items(), key=lambda entry: -entry[1]):
        inside = "in the set" if code in (one.set or ()) else ""
        table.add_row(Text(code), Text(names.name(code)), f"{share:.3f}", inside)
    return table


def _said_of(image_id: str, one: Answer) -> Iterator[str]:
    if one.withheld:
        yield f"{image_id}: the model abstains: {one.reason}."
        yield "No probabilities are given for such a picture."
        return
    if one.level is not None:
        yield f"The set is meant to hold the class of {100 * one.level:g} % of images like its training's."
    yield f"The decision rule names {one.name} ({one.diagnosis})."
    yield f"The model abstains: {one.reason}." if one.abstain else "The model does not abstain."


def _in_rows(answers: Mapping[str, Answer]) -> Table:
    table = Table()
    for name in ("image", "the decision rule names", "probability", "set", "abstains"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for image_id, one in answers.items():
        table.add_row(
            Text(image_id),
            Text(one.name or WITHHELD),
            WITHHELD if one.p is None or one.diagnosis is None else f"{one.p[one.diagnosis]:.3f}",
            Text(WITHHELD if one.set is None else " ".join(one.set)),
            Text(one.reason if one.abstain else "no"),
        )
    return table
