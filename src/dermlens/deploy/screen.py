"""Answers as a person reads them on a terminal, their limits beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dermlens.deploy.batch import Batch, shares_of
from dermlens.deploy.predictor import Answer, Predictor
from dermlens.labels import full_name


def render_answers(predictor: Predictor, batch: Batch, prior: Sequence[float] | None) -> RenderableType:
    """One image in full, several in a row each, and what must be known to read them."""
    parts: list[RenderableType] = [_in_rows(batch)]
    if len(batch.answers) == 1:
        ((image_id, one),) = batch.answers.items()
        parts = [_in_full(image_id, one), *map(Text, _said_of(one))]
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


def _in_full(image_id: str, one: Answer) -> Table:
    table = Table(title=Text(image_id))
    table.add_column("")
    table.add_column("diagnosis")
    table.add_column("probability", justify="right")
    table.add_column("set")
    for code, p in sorted(one.p.items(), key=lambda entry: -entry[1]):
        table.add_row(Text(code), Text(full_name(code)), f"{p:.3f}", "in the set" if code in one.set else "")
    return table


def _said_of(one: Answer) -> Iterator[str]:
    yield f"The decision rule names {full_name(one.diagnosis)} ({one.diagnosis})."
    yield f"The model abstains: {one.reason}." if one.abstain else "The model does not abstain."


def _in_rows(batch: Batch) -> Table:
    table = Table()
    for name in ("image", "the decision rule names", "probability", "set", "abstains"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for image_id, one in batch.answers.items():
        table.add_row(
            Text(image_id),
            Text(full_name(one.diagnosis)),
            f"{one.p[one.diagnosis]:.3f}",
            Text(" ".join(one.set)),
            Text(one.reason if one.abstain else "no"),
        )
    return table
