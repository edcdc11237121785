"""Verbs about data sets: what is in one, where to get one, how to split it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dermlens.cli.app import (
    Classes,
    Columns,
    Data,
    Labels,
    ValueMaps,
    app,
    console,
    names,
    say,
    source_maps,
    to_file,
    to_folder,
)
from dermlens.errors import UserError


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder (or CSV) with images and labels.")],
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    classes: Classes = None,
    near_duplicates: Annotated[bool, typer.Option(help="Also look for images that nearly agree.")] = True,
) -> None:
    """Say what is in a data set and what is wrong with it."""
    from dermlens.data.verify import verify as verify_folder

    found = verify_folder(
        folder,
        classes=names(classes),
        near_duplicates=near_duplicates,
        **source_maps(column, label, value),
    )
    console.print(found.render())
    if found.problems:
        raise typer.Exit(2)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="ham10000, isic2018-test, …")],
    destination: Annotated[
        Path | None, typer.Option("--to", help="Folder; else data/NAME.", callback=to_folder)
    ] = None,
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
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.", callback=to_folder)],
    lesions: Annotated[int, typer.Option(min=56, help="How many lesions; some have several images.")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    width: Annotated[int, typer.Option(min=64, max=2048)] = 600,
    height: Annotated[int, typer.Option(min=64, max=2048)] = 450,
) -> None:
    """Draw a synthetic data set in HAM10000's layout: no patient, no licence, for trying things out."""
    from dermlens.data.synthetic.folder import write_synthetic

    console.print(f"written: {write_synthetic(folder, lesions=lesions, seed=seed, size=(height, width))}")


@app.command()
def split(
    ctx: typer.Context,
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The manifest to write.", callback=to_file)
    ] = Path("split.csv"),
    protocol: Annotated[
        Literal["paper", "grouped", "singletons", "given", "sources"] | None,
        typer.Option(help="By default the roles that the folders or a column give, else grouped."),
    ] = None,
    holdout: Annotated[float, typer.Option(help="Share held out under paper and singletons.")] = 0.10,
    selection: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.10,
    calibration: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.10,
    test: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.15,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds of all but the test lesions.")] = None,
    seed: int = 0,
    folder: Annotated[
        list[str] | None, typer.Option(help="A data folder within DATA; several make one table.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="A diagnosis whose images are left out, such as other.")
    ] = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    classes: Classes = None,
) -> None:
    """Write a split manifest: which image plays which role, under a stated protocol."""
    from pydantic import ValidationError

    from dermlens.cli.app import frame_table
    from dermlens.data.config import DataConfig, SplitConfig
    from dermlens.data.split import absent_classes, leak, make_split
    from dermlens.data.table import read_configured_set, read_set
    from dermlens.targets import check_apart

    shares = {"holdout": holdout, "selection": selection, "calibration": calibration, "test": test}
    settings = {"protocol": protocol or "grouped", "folds": folds, "seed": seed, **shares}
    try:
        config = SplitConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]} {first['input']}" if first["loc"] else "split"
        raise UserError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from error
    maps, skipped = source_maps(column, label, value), tuple(skip or ())
    if folder:
        own = {} if classes is None else {"classes": names(classes)}
        together = DataConfig.model_validate({"folders": tuple(folder), "skip": skipped, **maps, **own})
        read = read_configured_set(data, together, check_files=False)
    else:
        read = read_set(data, classes=names(classes), skip=skipped, check_files=False, **maps)
    table, roles = read.table, set(read.roles.values())
    if protocol is None and "train" in roles and len(roles) > 1:
        sources = [ctx.get_parameter_source(name) for name in (*shares, "folds", "seed")]
        if all(source is not None and source.name == "DEFAULT" for source in sources):
            config = SplitConfig(protocol="given")  # whoever names shares, folds or a seed wants a draw
    check_apart(output, [*read.account.files(), *map(Path, table["path"])])
    made = make_split(table, config, read.roles)
    made.save(output)
    console.print(frame_table(made.summary(table), f"{made.protocol}: images and lesions by role"))
    for said in [
        *read.account.sentences(),
        *absent_classes(made.counts(table)),
        leak(made, table).sentence(),
    ]:
        say(said)
    console.print(f"written: {output}")
