"""The verb that answers: from the base install, without network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import app, console
from dermlens.errors import UserError


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Images, or folders of them.")],
    age: Annotated[str | None, typer.Option(help="Of the patient, in years.")] = None,
    sex: Annotated[str | None, typer.Option(help="female or male.")] = None,
    site: Annotated[
        str | None, typer.Option(help="Where on the body: back, face, lower extremity, …")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="CSV", help="image_id and any of age, sex, site, a row an image.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Another model than the one that ships with dermlens."),
    ] = None,
    prior: Annotated[
        str, typer.Option(help="Class shares that the probabilities hold for: natural, equal, {mel: 0.2, …}.")
    ] = "natural",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE.csv")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="An object instead of a table.")] = False,
) -> None:
    """Say what a model makes of images. Research software, not a medical device."""
    from dermlens.atomic import check_target
    from dermlens.deploy import batch as batches
    from dermlens.deploy.predictor import Predictor
    from dermlens.deploy.requests import Patient, find_images, one_patient, read_patients, strangers
    from dermlens.deploy.screen import notes, render_answers

    if table is not None and (age or sex or site):
        raise UserError("--table says it image by image: leave --age, --sex and --site out")
    everyone = one_patient(age, sex, site)
    found = find_images(images)
    doubts = found.doubts
    patients: dict[str, Patient] = {}
    if table is not None:
        patients, unsure = read_patients(table)
        doubts = [*doubts, *unsure, *strangers(found.images, patients, table)]
    for doubt in doubts:
        _say(doubt)
    predictor = Predictor.open(model)
    shares = batches.parse_prior(prior, predictor.classes)
    if output is not None:
        check_target(output)
    batch = batches.answer_all(
        predictor, found.images, lambda image_id: patients.get(image_id, everyone), shares
    )
    batch.unreadable |= found.unreadable
    for sentence in batch.unreadable.values():
        _say(sentence)
    if output is not None and batch.answers:
        batches.write_answers(output, batch, predictor.classes)
    if as_json:
        said = json.dumps(batches.as_json(predictor, batch, shares), indent=2, ensure_ascii=False)
        print(said.encode(errors="backslashreplace").decode())  # a folder's name may be no text
    elif batch.answers and output is None:
        console.print(render_answers(predictor, batch, shares))
    elif batch.answers:
        abstained = sum(one.abstain for one in batch.answers.values())
        console.print(f"written: {output}, {len(batch.answers)} images; the model abstains from {abstained}")
        for note in notes(predictor, shares):
            console.print(note)
    if batch.unreadable:
        raise typer.Exit(2)


def _say(sentence: str) -> None:
    print(f"dermlens: {sentence}", file=sys.stderr)
