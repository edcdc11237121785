"""Verbs about what can be trained: networks and recipes."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import Cache, OptionalData, RunFolder, app, console
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
        Path | None, typer.Argument(metavar="[DIR]", help="Folder to write to; else RUN/export.")
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

    Each file is opened by its own runtime and compared with the network on images that were held out; one
    that answers otherwise is not kept.
    """
    require("torch", "train,export")  # both at once: the exporter would ask for the second after the first
    from dermlens.deploy.export import export_folder
    from dermlens.deploy.quantise import quantise_run
    from dermlens.deploy.verify_export import export_verified
    from dermlens.runs import Run

    folder = run / "export" if folder is None else folder
    wanted = to or [Format.ONNX]
    document = export_folder(run, folder, data=data, limits=limit or ())
    assert document.onnx is not None
    console.print(f"written: {folder}; its logits differ by {document.onnx.largest_difference:.1e} at most")
    refused = ""
    for one in sorted(set(wanted), key=list(Format).index):
        if one == Format.ONNX_INT8:
            document = quantise_run(Run.open(run), folder, data=data, cache_root=cache)
            assert document.onnx is not None
            found = document.onnx.quantisation or {}
            console.print(f"{document.onnx.precision}: {found['why']}")
            refused = "" if found["accepted"] else found["why"]
        else:
            said = export_verified(run, folder, one.value, data=data, cache_root=cache)
            numbers = said["numbers"]
            console.print(
                f"{one.value}: on {numbers['images']} images ({said['images']}) probabilities differ by"
                f" {numbers['largest_difference']:.1e} at most, {100 * numbers['agreement']:.1f} % are"
                " named alike"
            )
    if refused:
        raise UserError(f"no int8 file is written, {folder} keeps the fp32 one: {refused}")
