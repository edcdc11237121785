"""The verb that answers: from the base install, without network."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import Age, Sex, Site, Threads, app, console, to_file
from dermlens.errors import UserError
from dermlens.streams import fits


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Images, or folders of them.")],
    age: Age = None,
    sex: Sex = None,
    site: Site = None,
    table: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Age, sex and site, a row an image; ISIC's metadata too."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Another model than the one that ships with dermlens."),
    ] = None,
    prior: Annotated[
        str, typer.Option(help="Class shares that the probabilities hold for: natural, equal, {mel: 0.2, …}.")
    ] = "natural",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="FILE.csv, FILE.json or FILE.parquet.", callback=to_file
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="An object instead of a table.")] = False,
    threads: Threads = None,
) -> None:
    """Say what a model makes of images. Research software, not a medical device.

    A job that was interrupted goes on when the same command is given again; with --output, that is.
    """
    from dermlens.deploy.answers import Answer
    from dermlens.deploy.journal import Journal
    from dermlens.deploy.predictor import Predictor
    from dermlens.deploy.prior import parse_prior
    from dermlens.deploy.requests import Patient, find_images, one_patient, read_patients
    from dermlens.deploy.screen import notes, progress, render_answers
    from dermlens.deploy.stream import answer_stream
    from dermlens.deploy.words import answer_json, heading_json

    if table is not None and (age or sex or site):
        raise UserError("--table says it image by image: leave --age, --sex and --site out")
    everyone = one_patient(age, sex, site)
    found = find_images(images)
    doubts = found.doubts
    patients: dict[str, Patient] = {}
    if table is not None:
        told = read_patients(table, found.images)
        patients, doubts = told.of_image, [*doubts, *told.doubts]
    for doubt in doubts:
        _say(doubt)
    predictor = Predictor.open(model, threads)
    shares = parse_prior(prior, predictor.classes)
    answers: dict[str, Answer] = {}
    unreadable: dict[str, str] = {}
    with ExitStack() as stack:
        journal = None
        if output is not None:
            journal = Journal(
                output,
                predictor,
                shares,
                everyone,
                patients,
                found.images,
                [one for one in images if one.is_dir()],
            )
            stack.enter_context(journal)
            if journal.done:
                _say(f"going on where {journal.path} ends: {len(journal.done)} images are done")
        done = journal.done if journal is not None else ()
        left = {image_id: path for image_id, path in found.images.items() if image_id not in done}
        stream = answer_stream(predictor, left, lambda image_id: patients.get(image_id, everyone), shares)
        try:
            for image_id, one in progress(stream, len(left)):
                if journal is not None:
                    journal.add(image_id, one)
                if isinstance(one, str):
                    unreadable[image_id] = one
                elif journal is None:
                    answers[image_id] = one
        except KeyboardInterrupt:
            kept = "" if journal is None else f"; {len(journal.done)} images are kept in {journal.path}"
            raise KeyboardInterrupt(f"interrupted{kept}") from None
        for image_id, sentence in found.unreadable.items():
            unreadable[image_id] = sentence
            if journal is not None:
                journal.add(image_id, sentence)
        for sentence in unreadable.values():
            _say(sentence)
        given = [{"image_id": image_id} | answer_json(one) for image_id, one in answers.items()]
        if journal is not None:
            given = list(journal.answers()) if as_json else []
            journal.finish()
    if as_json:
        said = heading_json(predictor, shares) | {"answers": given, "unreadable": unreadable}
        text = json.dumps(said, indent=2, ensure_ascii=False)
        if not fits(text):
            text = json.dumps(said, indent=2)
        print(text.encode(errors="backslashreplace").decode())  # a folder's name may be no text
    elif journal is not None and journal.done:
        console.print(
            f"written: {output}, {len(journal.done)} images; the model abstains from {journal.abstained}"
        )
        for note in notes(predictor, shares):
            console.print(note)
    elif answers:
        console.print(render_answers(predictor, answers, shares))
    if unreadable:
        raise typer.Exit(2)


def _say(sentence: str) -> None:
    print(f"dermlens: {sentence}", file=sys.stderr)
