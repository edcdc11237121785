"""Verbs about what a decision is worth: its tables and figures, and pictures of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dermlens.cli.app import (
    Cache,
    Columns,
    Data,
    Device,
    Labels,
    OptionalData,
    RunFolder,
    SourceMaps,
    ValueMaps,
    app,
    console,
    names,
    pairs,
    say,
    source_maps,
    to_file,
    to_folder,
)
from dermlens.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


Photographs = Annotated[
    Path | None,
    typer.Option(help="Also ordinary photographs: where to write the pieces.", callback=to_folder),
]
Table = Annotated[Path, typer.Option("--output", "-o", help="The CSV to write.", callback=to_file)]


def _read(folder: Path, maps: SourceMaps | None = None) -> pd.DataFrame:
    """A labelled set, with what was read of it printed."""
    from dermlens.data.table import read_set

    read = read_set(folder) if maps is None else read_set(folder, **maps)
    for sentence in read.account.sentences():
        say(sentence)
    return read.table


@app.command(name="decision-report")
def decision_report(
    run: RunFolder,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the CSV and PNG files.", callback=to_folder)
    ],
    role: Annotated[str, typer.Option(help="Images to answer: selection, calibration, or an opened test.")],
    data: OptionalData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Draw calibration, sets and abstention of a calibrated run: CSV tables and PNG figures."""
    from dermlens.runs import Run
    from dermlens.studies.reliability import report_run

    report_run(Run.open(run), role, out, data=data, device=device, cache=cache)
    console.print(f"decision report: {out}")


@app.command(name="told-less")
def told_less(
    run: RunFolder,
    role: Annotated[str, typer.Option(help="Images to answer: selection, calibration, or an opened test.")],
    output: Table,
    data: OptionalData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Score a role's images with all, part and none of what is known of the patients."""
    from dermlens.report.run_data import METADATA_MEASURES
    from dermlens.runs import Run
    from dermlens.studies.missing_metadata import missing_metadata as score

    table = score(Run.open(run), role, output, data=data, device=device, cache=cache)
    console.print(table[["told", "images", *METADATA_MEASURES]].round(3).to_string(index=False))
    console.print(f"written: {output}")


@app.command(name="far-ood")
def far_ood(
    run: RunFolder,
    output: Table,
    strangers: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=DIR", help="A labelled folder of strangers.")
    ] = None,
    photographs: Photographs = None,
    columns: Columns = None,
    labels: Labels = None,
    values: ValueMaps = None,
    metadata: Annotated[
        bool, typer.Option(help="Whether the network is told age, sex and site, of strangers as of its own.")
    ] = True,
    data: OptionalData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Measure how well each out-of-distribution score tells strangers from a run's new images."""
    from dermlens.runs import Run
    from dermlens.studies.out_of_distribution import far_ood as score
    from dermlens.studies.out_of_distribution import write_photographs

    maps = source_maps(columns, labels, values)
    shown = {name: _read(Path(folder), maps) for name, folder in pairs(strangers, "--set").items()}
    if photographs is not None:
        shown["photographs"] = write_photographs(photographs)
    if not shown:
        raise UserError("no strangers: name a folder of them with --set NAME=DIR, or --photographs DIR")
    table = score(
        Run.open(run), shown, output, metadata=metadata, data=data, device=device, cache=cache, say=say
    )
    console.print(table.round(3).to_string(index=False))
    console.print(f"written: {output}")


@app.command(name="learn-dermoscopy")
def learn_dermoscopy(
    run: RunFolder,
    dermoscopic: Annotated[
        list[str] | None,
        typer.Option(
            "--dermoscopic", metavar="NAME=DIR", help="A labelled folder of dermoscopy from elsewhere."
        ),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option("--other", metavar="NAME=DIR", help="A labelled folder of pictures that are none."),
    ] = None,
    photographs: Photographs = None,
    columns: Columns = None,
    labels: Labels = None,
    values: ValueMaps = None,
    kept: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Share of dermoscopy that shall be taken for such.")
    ] = 0.98,
    data: OptionalData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Teach a run's model to tell dermoscopy from other pictures, which then get no probabilities.

    --column, --label and --value are for those of the folders that cannot be read without.
    """
    from dermlens.calibration.dermoscopy import learn_dermoscopy as learn
    from dermlens.runs import Run
    from dermlens.studies.out_of_distribution import write_photographs

    maps = source_maps(columns, labels, values)

    def read(folder: str) -> pd.DataFrame:
        try:
            return _read(Path(folder))
        except UserError:
            if not (columns or labels or values):
                raise
            return _read(Path(folder), maps)

    sides = [
        {name: read(folder) for name, folder in pairs(given, option).items()}
        for given, option in ((dermoscopic, "--dermoscopic"), (other, "--other"))
    ]
    if photographs is not None:
        if "photographs" in sides[1]:
            raise UserError("--photographs makes a set of that name: give yours another")
        sides[1]["photographs"] = write_photographs(photographs)
    opened = Run.open(run)
    table = learn(opened, *sides, kept=kept, data=data, device=device, cache=cache, say=say)
    console.print(table.round(3).to_string(index=False))
    console.print(f"written: {opened.path / 'model.json'}, {opened.path / 'dermoscopy.csv'}")


@app.command(name="near-ood")
def near_ood(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's file or name; a small one, trained once a class.")
    ],
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="The folder to make; one that is there goes on.", callback=to_folder
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override the recipe.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Classes to leave out now, comma-separated.")] = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Leave each class out of a training, and measure whether its images stand out. Run again to go on."""
    from dermlens.recipe import load_recipe
    from dermlens.studies.out_of_distribution import unseen_class as score

    loaded = load_recipe(recipe, overrides or ())
    table = score(loaded, data, out, classes=names(only), device=device, cache=cache)
    console.print(table.round(3).to_string(index=False))
    console.print(f"written: {out / 'near_ood.csv'}")
