"""Verbs about what can be trained: networks and recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import Cache, OptionalData, RunFolder, app, console
from dermlens.errors import require


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


@app.command()
def export(
    run: RunFolder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise, if it costs no more recall than it may.")
    ] = False,
    data: OptionalData = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="A sentence to stand beside every answer; any number of them.")
    ] = None,
    cache: Cache = None,
) -> None:
    """Make a folder that predicts without torch: `dermlens predict IMAGE --model DIR`."""
    require("torch", "train,export")  # both at once: the exporter would ask for the second after the first
    from dermlens.deploy.export import export_folder

    document = export_folder(run, folder, data=data, limits=limit or ())
    assert document.onnx is not None
    console.print(f"written: {folder}; its logits differ by {document.onnx.largest_difference:.1e} at most")
    if int8:
        from dermlens.deploy.quantise import quantise_run
        from dermlens.runs import Run

        document = quantise_run(Run.open(run), folder, data=data, cache_root=cache)
        assert document.onnx is not None
        found = document.onnx.quantisation or {}
        console.print(f"{document.onnx.precision}: {found['why']}")
