"""Verbs about several trainings: cross-fit one recipe, ablate it, average what they predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dermlens.cli.app import Cache, Data, Device, OptionalData, app, console, names, to_file, to_folder
from dermlens.errors import UserError

Out = Annotated[
    Path,
    typer.Option("--out", "-o", help="The folder to make; one that is there goes on.", callback=to_folder),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override the recipe.")
]
Members = Annotated[
    list[Path], typer.Argument(metavar="FOLDER FOLDER…", help="Runs, or cross-fits, or ensembles of them.")
]
Mean = Annotated[
    Literal["probabilities", "logs"], typer.Option(help="What is averaged; logs is the geometric mean.")
]


@app.command()
def crossfit(
    recipe: Annotated[str, typer.Argument(help="A recipe's file or name; see `dermlens recipes`.")],
    data: Data,
    out: Out,
    overrides: Overrides = None,
    folds: Annotated[int, typer.Option(min=2, help="Of all lesions but those of the test role.")] = 5,
    by: Annotated[
        Literal["lesion", "source"], typer.Option(help="What is held out: folds of lesions, or a source.")
    ] = "lesion",
    sources: Annotated[
        str | None, typer.Option(help="Sources to leave out with --by source, comma-separated.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Folds, or sources, to train now, comma-separated, such as 0,1.")
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Hold every lesion but those of test out once, and score what is said of it. Run again to go on.

    With --by source, each of several sources is left out of training as a whole instead.
    """
    from dermlens.recipe import load_recipe
    from dermlens.studies.ablation_page import render_by_source, render_study
    from dermlens.studies.by_source import LEFT_OUT, crossfit_by_source
    from dermlens.studies.crossfit import crossfit as cross_fit

    loaded = load_recipe(recipe, overrides or ())
    if by == "source":
        found = crossfit_by_source(
            loaded,
            data,
            out,
            sources=names(sources) or LEFT_OUT,
            only=names(only),
            device=device,
            cache=cache,
        )
        console.print(render_by_source(found))
        console.print(f"cross-fit: {out}")
        return
    if sources is not None:
        raise UserError("--sources goes with --by source")
    facts = cross_fit(loaded, data, out, folds=folds, only=_numbers(only), device=device, cache=cache)
    if facts["status"] == "completed":
        console.print(render_study(facts))
    else:
        console.print(f"not there yet: {', '.join(facts['missing'])}; no scores before all are")
    for warning in facts["warnings"]:
        console.print(f"- {warning}")
    console.print(f"cross-fit: {out}")


@app.command()
def ablate(
    matrix: Annotated[str | None, typer.Argument(help="A matrix's file or name, such as imbalance.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="Folder with the images and labels.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to make or go on with.", callback=to_folder)
    ] = None,
    overrides: Overrides = None,
    only: Annotated[str | None, typer.Option(help="Arms to train now, comma-separated.")] = None,
    publish: Annotated[
        Path | None, typer.Option(help="Also copy what may be published to this folder.", callback=to_folder)
    ] = None,
    rescore: Annotated[
        Path | None, typer.Option(help="Train nothing; score this folder's predictions again.")
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Cross-fit every arm of a matrix and compare each with the baseline. Run again to go on."""
    from dermlens.studies import ablation
    from dermlens.studies.ablation_page import render_ablation
    from dermlens.studies.matrix import load_matrix

    if rescore is not None:
        if matrix is not None or data is not None or out is not None:
            raise UserError("--rescore reads the folder alone: leave MATRIX, --data and --out out")
        _check_apart(publish, rescore)
        folder = rescore
        console.print(render_ablation(ablation.rescore(folder)))
    else:
        if matrix is None or data is None or out is None:
            raise UserError(
                "name a matrix, its data and a folder: dermlens ablate MATRIX --data DIR --out DIR"
                " (or --rescore DIR)"
            )
        _check_apart(publish, out)
        loaded = load_matrix(matrix, overrides or ())
        folder = out
        table = ablation.ablate(loaded, data, out, only=names(only), device=device, cache=cache)
        console.print(
            f"no table before the baseline {loaded.baseline} is trained: run again without --only"
            if table is None
            else render_ablation(table)
        )
    if publish is not None:
        ablation.publish(folder, publish)
        console.print(f"published: {publish}")
    console.print(f"ablation: {folder}")


@app.command(name="source-probe")
def source_probe(
    recipe: Annotated[str, typer.Argument(help="A recipe whose data section reads the sources.")],
    data: Data,
    model: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Whose features; by default the model that ships.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The JSON to write.", callback=to_file)
    ] = Path("source_probe.json"),
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Measure how well a linear probe on a model's features tells the source among nevi."""
    from dermlens.data.table import read_configured
    from dermlens.files import write_json
    from dermlens.models.saved import load_model
    from dermlens.predict.predictor import shipped_folder
    from dermlens.recipe import load_recipe
    from dermlens.records import estimate_text
    from dermlens.studies.by_source import source_probe as probe

    table = read_configured(data, load_recipe(recipe).data)
    found = probe(load_model(model or shipped_folder()), table, device=device, cache=cache)
    write_json(output, found)
    for source, recall in found["recall"].items():
        console.print(f"{source}: {estimate_text(recall, 3)}")
    accuracy = estimate_text(found["balanced_accuracy"], 3)
    console.print(f"balanced accuracy {accuracy} of {found['images']} nevi; by chance {found['chance']:.3f}")
    console.print(f"written: {output}")


@app.command()
def ensemble(members: Members, out: Out, mean: Mean = "probabilities") -> None:
    """Average the predictions of several runs or cross-fits, and score them."""
    from dermlens.studies.ablation_page import render_study
    from dermlens.studies.ensemble import ensemble as average

    console.print(render_study(average(members, out, mean=mean)))
    console.print(f"ensemble: {out}")


@app.command()
def soup(
    members: Members,
    out: Out,
    data: OptionalData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Average the weights of runs of one start into one run; or those of cross-fits, fold by fold."""
    from dermlens.studies import soup as pot
    from dermlens.studies.ablation_page import render_study

    if pot.is_crossfit(members[0]):
        console.print(render_study(pot.soup_crossfits(members, out, data=data, device=device, cache=cache)))
        console.print(f"cross-fit: {out}")
    else:
        pot.soup(members, out, data=data, device=device, cache=cache)
        console.print(f"soup: {out}; next: dermlens calibrate {out}")


@app.command(name="soft-labels")
def soft_labels(
    members: Members,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The CSV to write.", callback=to_file)
    ] = Path("soft_labels.csv"),
    mean: Mean = "probabilities",
) -> None:
    """Write soft labels for distillation from the out-of-fold predictions of cross-fits."""
    from dermlens.studies.ensemble import soft_labels as write

    count = len(write(members, output, mean=mean))
    console.print(f"written: {output}, {count} images; --set train.distillation.soft_labels={output}")


def _check_apart(publish: Path | None, folder: Path) -> None:
    """Refuse to publish a folder to itself."""
    if publish is not None and publish.resolve() == folder.resolve():
        raise UserError(f"--publish {publish}: that is the ablation itself; name a folder for the copy")


def _numbers(words: str | None) -> list[int] | None:
    """Comma-separated fold numbers, or none."""
    if words is None:
        return None
    if not all(word.strip().isdecimal() for word in words.split(",")):
        raise UserError(f"--only {words}: write fold numbers with commas between them, such as 0,1")
    return [int(word) for word in words.split(",")]
