"""Verbs about data sets: what is in one, where to get one, how to split it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dermlens.cli.app import Classes, Columns, Data, Labels, app, console, names, source_maps
from dermlens.errors import UserError


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder (or CSV) with images and labels.")],
    column: Columns = None,
    label: Labels = None,
    classes: Classes = None,
    near_duplicates: Annotated[bool, typer.Option(help="Also look for images that nearly agree.")] = True,
) -> None:
    """Say what is in a data set and what is wrong with it."""
    from dermlens.data.verify import verify as verify_folder

    found = verify_folder(
        folder,
        classes=names(classes),
        near_duplicates=near_duplicates,
        **source_maps(column, label),
    )
    console.print(found.render())
    if found.problems:
        raise typer.Exit(2)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="ham10000, isic2018-test, …")],
    destination: Annotated[Path | None, typer.Option("--to", help="Folder; else data/NAME.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You accept the shown licence.")
    ] = False,
) -> None:
    """Download a public data set from its official address, check it and unpack it."""
    from dermlens.data.fetch import fetch as fetch_set

    folder = fetch_set(
        name, destination or Path("data") / name, accept_licence=accept_licence, console=console
    )
    console.print(f"{name} is in {folder}; `dermlens verify {folder}` says what is there")


@app.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    lesions: Annotated[int, typer.Option(min=56, help="How many lesions; some have several images.")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    width: Annotated[int, typer.Option(min=64, max=2048)] = 600,
    height: Annotated[int, typer.Option(min=64, max=2048)] = 450,
) -> None:
    """Draw a synthetic data set in HAM10000's layout: no patient, no licence, for trying things out."""
    from dermlens.data.synthetic import write_synthetic

    console.print(f"written: {write_synthetic(folder, lesions=lesions, seed=seed, size=(height, width))}")


@app.command()
def split(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write.")] = Path(
        "split.csv"
    ),
    protocol: Annotated[Literal["paper", "grouped", "singletons"], typer.Option()] = "grouped",
    holdout: Annotated[float, typer.Option(help="Share held out under paper and singletons.")] = 0.10,
    selection: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.10,
    calibration: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.10,
    test: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.15,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds of all but the test lesions.")] = None,
    seed: int = 0,
    column: Columns = None,
    label: Labels = None,
    classes: Classes = None,
) -> None:
    """Write a split manifest: which image plays which role, under a stated protocol."""
    from pydantic import ValidationError

    from dermlens.console import frame_table
    from dermlens.data.config import SplitConfig
    from dermlens.data.leak import leak
    from dermlens.data.split import make_split
    from dermlens.data.table import read_table

    shares = {"holdout": holdout, "selection": selection, "calibration": calibration, "test": test}
    settings = {"protocol": protocol, "folds": folds, "seed": seed, **shares}
    try:
        config = SplitConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]} {first['input']}" if first["loc"] else "split"
        raise UserError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from error
    table = read_table(
        data,
        classes=names(classes),
        check_files=False,
        **source_maps(column, label),
    )
    made = make_split(table, config)
    made.save(output)
    console.print(frame_table(made.summary(table), f"{made.protocol}: images and lesions by role"))
    console.print(leak(made, table).sentence())
    console.print(f"written: {output}")
