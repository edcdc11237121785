"""Verbs about what can be trained: networks and recipes."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dermlens.cli.app import Cache, OptionalData, RunFolder, app, console, to_folder
from dermlens.errors import UserError, require


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects instead of a table.")] = False,
) -> None:
    """List every backbone and cut: shapes, parameters, the published counts and the differences."""
    from dermlens.models.summary import render_table, summarise_models

    rows = summarise_models()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        console.print(render_table(rows))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one, defaults written out.")] = None,
) -> None:
    """List the recipes that come with dermlens, or print one."""
    from dermlens.recipe import load_recipe, shipped_recipes

    if name is not None:
        print(load_recipe(name).dump(), end="")
        return
    for known, text in shipped_recipes().items():
        console.print(f"{known}: {text.splitlines()[0].removeprefix('#').strip()}")


class Format(StrEnum):
    """What a model can be exported to."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    OPENVINO = "openvino"
    LITERT = "litert"
    TORCH = "torch"


@app.command()
def export(
    run: RunFolder,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Folder to write to; else RUN/export.", callback=to_folder),
    ] = None,
    to: Annotated[
        list[Format] | None, typer.Option("--to", help="Any number of formats; ONNX is always written.")
    ] = None,
    data: OptionalData = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="A sentence to stand beside every answer; any number of them.")
    ] = None,
    cache: Cache = None,
) -> None:
    """Make a folder that predicts without torch: `dermlens predict IMAGE --model DIR`.

    Each file is opened by its own runtime and compared with the network on images that were held out;
    where one answers otherwise, nothing is written.
    """
    require("torch", "train,export")  # both at once: the exporter would ask for the second after the first
    from dermlens.deploy.export_formats import export_formats

    folder = run / "export" if folder is None else folder
    formats = [one.value for one in to or [Format.ONNX]]
    written = export_formats(run, folder, formats, data=data, cache_root=cache, limits=limit or ())
    for name, entry in written.entries.items():
        console.print(_compared(name, entry))
    console.print(f"written: {folder}")
    if written.refused:
        raise UserError(f"no int8 file is written, {folder} has the fp32 one: {written.refused}")


def _compared(name: str, entry: dict[str, Any]) -> str:
    """How near a file is to the network, in a line."""
    numbers = entry["numbers"]
    said = (
        f"{name}, {entry['precision']}: on {numbers['images']} images ({entry['images']}) probabilities"
        f" differ by {numbers['largest_difference']:.1e} at most,"
        f" {100 * numbers['agreement']:.1f} % are named alike"
    )
    for recall, loss in numbers.get("loss", {}).items():
        if isinstance(loss, dict):
            said += (
                f"; {recall.replace('_', ' ')} falls by {100 * loss['lost']:.1f} points"
                f" [{100 * loss['lost_at_least']:.1f}, {100 * loss['lost_at_most']:.1f}]"
            )
    return said
