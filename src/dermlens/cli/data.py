"""Verbs about data sets: what is in one, where to get one, how to split it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dermlens.cli.app import console, frame_table, say
from dermlens.cli.options import (
    Classes,
    Columns,
    Data,
    Labels,
    Skip,
    ValueMaps,
    names,
    out_file,
    out_folder,
    source_maps,
)


def verify(
    data: Data,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    classes: Classes = None,
    near_duplicates: Annotated[bool, typer.Option(help="Also look for images that nearly agree.")] = True,
) -> None:
    """Read a data set, open every image, and print what is in it and what is wrong with it."""
    from dermlens.data.verify import verify as verify_folder

    found = verify_folder(
        data,
        classes=names(classes),
        near_duplicates=near_duplicates,
        **source_maps(column, label, value, skip, classes),
    )
    console.print(found.render())
    if found.problems:
        raise typer.Exit(2)


def fetch(
    name: Annotated[str, typer.Argument(help="ham10000, isic2018-test, …")],
    out: Annotated[Path | None, out_folder("Folder to make; else data/NAME.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You accept the licence that is shown.")
    ] = False,
) -> None:
    """Download a public data set from its official address, check it and unpack it."""
    from dermlens.data.fetch import fetch as fetch_set

    folder = fetch_set(name, out or Path("data") / name, accept_licence=accept_licence, console=console)
    console.print(f"{name} is in {folder}; next: dermlens data verify --data {folder}")


def synthesize(
    out: Annotated[Path, out_folder("Folder to make.")],
    lesions: Annotated[int, typer.Option(min=56, help="How many lesions; some have several images.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawing.")] = 0,
    width: Annotated[int, typer.Option(min=64, max=2048, help="Of an image, in pixels.")] = 600,
    height: Annotated[int, typer.Option(min=64, max=2048, help="Of an image, in pixels.")] = 450,
) -> None:
    """Draw a synthetic data set in HAM10000's layout, to try things out: no patients, no licence."""
    from dermlens.data.synthetic.folder import write_synthetic

    console.print(f"written: {write_synthetic(out, lesions=lesions, seed=seed, size=(height, width))}")


def split(
    data: Data,
    out: Annotated[Path, out_file("The manifest to write.")] = Path("split.csv"),
    protocol: Annotated[
        Literal["paper", "grouped", "singletons", "given", "sources"] | None,
        typer.Option(help="By default the roles that the folders or a column give, else grouped."),
    ] = None,
    holdout: Annotated[
        float | None, typer.Option(help="Share held out under paper and singletons; 0.1 by default.")
    ] = None,
    selection: Annotated[
        float | None, typer.Option(help="Share of lesions under grouped; 0.1 by default.")
    ] = None,
    calibration: Annotated[
        float | None, typer.Option(help="Share of lesions under grouped; 0.1 by default.")
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Share of lesions under grouped; 0.15 by default.")
    ] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds of all but the test lesions.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw; 0 by default.")] = None,
    folder: Annotated[
        list[str] | None, typer.Option(help="A data folder within DIR; several make one table.")
    ] = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    classes: Classes = None,
) -> None:
    """Decide which image plays which role, and write that down as a split manifest."""
    from dermlens.data.split import new_split
    from dermlens.targets import check_apart

    shares = {"holdout": holdout, "selection": selection, "calibration": calibration, "test": test}
    made = new_split(
        data,
        {"protocol": protocol, "folds": folds, "seed": seed, **shares},
        folders=tuple(folder or ()),
        classes=names(classes),
        **source_maps(column, label, value, skip, classes),
    )
    check_apart(out, made.files())
    made.split.save(out)
    title = f"{made.split.protocol}: images and lesions by role"
    console.print(frame_table(made.split.summary(made.table), title))
    for sentence in made.sentences():
        say(sentence)
    console.print(f"written: {out}")
