"""Verbs about what a model's answers are worth: its calibration, and images that it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import console, say
from dermlens.cli.options import (
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
    Skip,
    ValueMaps,
    named_folders,
    names,
    out_file,
    out_folder,
    recipe_overrides,
    source_maps,
)

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
    from dermlens.studies.missing_metadata import missing_metadata as score

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
    from dermlens.studies.by_source import probe_sentences, write_source_probe

    loaded = load_recipe(recipe, overrides or (), trust_code=True)
    found = write_source_probe(loaded, data, model, out, device=device, cache=cache)
    for sentence in probe_sentences(found):
        console.print(sentence)
    console.print(f"written: {out}")
