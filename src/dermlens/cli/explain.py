"""The verb that shows what an answer goes by."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import console
from dermlens.cli.options import Age, Cache, Sex, Site, out_file
from dermlens.errors import UserError


def explain(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image to explain.")],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="DIR", help="Another model than the one that ships: a run, or its copy."
        ),
    ] = None,
    age: Age = None,
    sex: Sex = None,
    site: Site = None,
    out: Annotated[Path | None, out_file("FILE.png or FILE.svg; else <image>_explained.png.")] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", metavar="DIR", help="The run's data, for the nearest training cases."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="attention, evidence, contrast, grad_cam, occlusion, kernel_shap; else all that fit."
        ),
    ] = None,
    class_code: Annotated[
        str | None, typer.Option("--class", metavar="CODE", help="Explain this class, not the one named.")
    ] = None,
    cache: Cache = None,
) -> None:
    """Show what an answer rests on: maps, what age, sex and site add, training cases like this one.

    Research software, not a medical device.
    """
    from dermlens.explain.explained import explain_image, sentences
    from dermlens.explain.figure import DISCLAIMER, draw
    from dermlens.files import check_target
    from dermlens.models.saved import load_model
    from dermlens.predict.patients import one_patient
    from dermlens.predict.predictor import shipped_folder
    from dermlens.report.plots import save_figure
    from dermlens.targets import check_apart

    if image.is_dir():
        raise UserError(f"{image} is a folder; explain takes one image")
    folder = model or shipped_folder()
    target = out or Path(f"{image.stem}_explained.png")
    if target.suffix.lower() not in (".png", ".svg"):
        raise UserError(f"--out {target}: figures are written as .png or .svg")
    check_target(target)
    check_apart(target, [image])
    found = explain_image(
        load_model(folder),
        folder,
        image,
        one_patient(age, sex, site),
        methods=method or (),
        class_code=class_code,
        data=data,
        cache=cache,
        say=lambda sentence: print(f"dermlens: {sentence}", file=sys.stderr),
    )
    save_figure(draw(found), target)
    for sentence in sentences(found):
        console.print(sentence)
    console.print(f"written: {target}")
    console.print(DISCLAIMER)
