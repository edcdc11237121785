"""Verbs about what a model's answers go by, and what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import console, say, warn
from dermlens.cli.options import (
    Age,
    Cache,
    Classes,
    Columns,
    Data,
    Device,
    Labels,
    Model,
    Overrides,
    Photographs,
    RecipeName,
    Role,
    RunData,
    RunFolder,
    Sex,
    Site,
    Skip,
    ValueMaps,
    named_folders,
    names,
    out_file,
    out_folder,
    recipe_overrides,
    source_maps,
)
from dermlens.errors import UserError

TableFile = Annotated[Path, out_file("The CSV to write.")]


def reliability(
    run: RunFolder,
    out: Annotated[Path, out_folder("Folder for the CSV and PNG files.")],
    role: Role,
    data: RunData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Draw calibration, prediction sets and abstention of a calibrated run: CSV tables and PNG figures."""
    from dermlens.runs import Run
    from dermlens.studies.reliability import report_run

    report_run(Run.open(run), role, out, data=data, device=device, cache=cache)
    console.print(f"reliability: {out}")


def missing_metadata(
    run: RunFolder,
    role: Role,
    out: TableFile,
    data: RunData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Score a role's images with all, part and none of age, sex and site."""
    from dermlens.report.run_data import METADATA_MEASURES
    from dermlens.runs import Run
    from dermlens.studies.reliability import missing_metadata as score

    table = score(Run.open(run), role, out, data=data, device=device, cache=cache)
    console.print(table[["metadata", "images", *METADATA_MEASURES]].round(3).to_string(index=False))
    console.print(f"written: {out}")


def out_of_distribution(
    run: RunFolder,
    out: TableFile,
    other: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]DIR", help="Labelled folder of images of another kind."),
    ] = None,
    photographs: Photographs = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    metadata: Annotated[
        bool, typer.Option(help="Give the network age, sex and site, of these images as of its own.")
    ] = True,
    data: RunData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Measure how well each score separates images of another kind from a run's held-out ones."""
    from dermlens.runs import Run
    from dermlens.studies.out_of_distribution import far_ood, read_sets

    maps = source_maps(column, label, value, skip)
    shown = read_sets(named_folders(other, "--other"), maps, photographs, say=say)
    table = far_ood(
        Run.open(run), shown, out, metadata=metadata, data=data, device=device, cache=cache, say=say
    )
    console.print(table.round(3).to_string(index=False))
    console.print(f"written: {out}")


def unseen_class(
    recipe: RecipeName,
    data: Data,
    out: Annotated[Path, out_folder("The folder to make; one that is there goes on.")],
    overrides: Overrides = None,
    only: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Classes to leave out now, comma-separated.")
    ] = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    classes: Classes = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Train without each class in turn, and measure whether its images stand out. Run again to go on.

    The recipe is trained once for each class: take a small one.
    """
    from dermlens.recipe import load_recipe
    from dermlens.studies.out_of_distribution import unseen_class as score

    maps = source_maps(column, label, value, skip, classes)
    loaded = load_recipe(recipe, recipe_overrides(overrides, maps, classes), trust_code=True)
    table = score(loaded, data, out, classes=names(only), device=device, cache=cache)
    console.print(table.round(3).to_string(index=False))
    console.print(f"written: {out / 'near_ood.csv'}")


def source_probe(
    recipe: RecipeName,
    data: Data,
    model: Model = None,
    out: Annotated[Path, out_file("The JSON to write.")] = Path("source_probe.json"),
    overrides: Overrides = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Measure how well a linear probe on a model's features recognises the source, among nevi.

    The data section of the recipe names the sources.
    """
    from dermlens.recipe import load_recipe
    from dermlens.studies.source_probe import probe_sentences, write_source_probe

    loaded = load_recipe(recipe, overrides or (), trust_code=True)
    found = write_source_probe(loaded, data, model, out, device=device, cache=cache)
    for sentence in probe_sentences(found):
        console.print(sentence)
    console.print(f"written: {out}")


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
    from dermlens.explain.explained import DISCLAIMER, draw, explain_image, sentences
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
        say=warn,
    )
    save_figure(draw(found), target)
    for sentence in sentences(found):
        console.print(sentence)
    console.print(f"written: {target}")
    console.print(DISCLAIMER)
