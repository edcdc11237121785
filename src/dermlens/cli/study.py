"""Verbs about several trainings: cross-fit one recipe, ablate it, average what they predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dermlens.cli.app import console
from dermlens.cli.options import (
    Cache,
    Classes,
    Columns,
    Data,
    Device,
    Labels,
    MaybeData,
    Overrides,
    RecipeName,
    RunData,
    Skip,
    ValueMaps,
    names,
    out_file,
    out_folder,
    recipe_overrides,
    source_maps,
    to_folder,
)
from dermlens.errors import UserError

Out = Annotated[Path, out_folder("The folder to make; one that is there goes on.")]
Members = Annotated[
    list[Path], typer.Argument(metavar="FOLDER FOLDER…", help="Runs, or cross-fits, or ensembles of them.")
]
Mean = Annotated[
    Literal["probabilities", "logs"], typer.Option(help="What is averaged; logs is the geometric mean.")
]


def crossfit(
    recipe: RecipeName,
    data: Data,
    out: Out,
    overrides: Overrides = None,
    folds: Annotated[int, typer.Option(min=2, help="Of all lesions but those of the test role.")] = 5,
    by: Annotated[
        Literal["lesion", "pair", "source"],
        typer.Option(help="What is held out: a fold of lesions, two of them (for soft labels), or a source."),
    ] = "lesion",
    sources: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Sources to leave out with --by source, comma-separated."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Folds, pairs (0-1) or sources to train now, comma-separated."),
    ] = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    classes: Classes = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Hold every lesion outside the test role out once, and score the answers. Run again to go on.

    With --by source, each of several sources is left out of training as a whole instead. With --by pair, two
    folds are left out at a time, for `study soft-labels --within`.
    """
    from dermlens.recipe import load_recipe
    from dermlens.studies.ablation_page import render_by_source, render_study
    from dermlens.studies.by_source import LEFT_OUT, crossfit_by_source
    from dermlens.studies.crossfit import crossfit as cross_fit
    from dermlens.studies.crossfit import crossfit_pairs

    maps = source_maps(column, label, value, skip, classes)
    loaded = load_recipe(recipe, recipe_overrides(overrides, maps, classes), trust_code=True)
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
    if by == "pair":
        facts = crossfit_pairs(loaded, data, out, folds=folds, only=names(only), device=device, cache=cache)
    else:
        facts = cross_fit(loaded, data, out, folds=folds, only=_numbers(only), device=device, cache=cache)
    if "roles" in facts:
        console.print(render_study(facts))
    elif facts["missing"]:
        console.print(f"not there yet: {', '.join(facts['missing'])}; no scores before all are")
    for warning in facts["warnings"]:
        console.print(f"- {warning}")
    console.print(f"cross-fit: {out}")


def ablate(
    matrix: Annotated[str | None, typer.Argument(help="A matrix's file or name, such as imbalance.")] = None,
    data: MaybeData = None,
    out: Annotated[Path | None, out_folder("The folder to make; one that is there goes on.")] = None,
    overrides: Overrides = None,
    only: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Arms to train now, comma-separated.")
    ] = None,
    publish: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also copy what may be published to this folder.", callback=to_folder
        ),
    ] = None,
    rescore: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Train nothing; score this folder's predictions again."),
    ] = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    classes: Classes = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Cross-fit every arm of a matrix, and compare each with the baseline. Run again to go on."""
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
                "name a matrix, its data and a folder: dermlens study ablate MATRIX --data DIR --out DIR"
                " (or --rescore DIR)"
            )
        _check_apart(publish, out)
        maps = source_maps(column, label, value, skip, classes)
        loaded = load_matrix(matrix, recipe_overrides(overrides, maps, classes))
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


def search(
    plan: Annotated[str, typer.Argument(metavar="SEARCH", help="A YAML with recipe, space and measure.")],
    data: Data,
    out: Out,
    trials: Annotated[
        int | None, typer.Option(min=1, help="In the place of those that SEARCH names; more go on.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trials at once.")] = 1,
    overrides: Overrides = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    classes: Classes = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Search for values of a recipe's keys on a fold that is set apart for it. Run again to go on."""
    from dermlens.studies import search as work
    from dermlens.studies.space import load_search

    maps = source_maps(column, label, value, skip, classes)
    loaded = load_search(Path(plan), recipe_overrides(overrides, maps, classes), trials=trials)
    table = work.search(loaded, data, out, jobs=jobs, device=device, cache=cache)
    console.print(work.render(loaded, table, out))
    console.print(f"search: {out}")


def ensemble(
    members: Members,
    out: Out,
    mean: Mean = "probabilities",
    choose: Annotated[
        Literal["all", "exhaustive"],
        typer.Option(help="exhaustive: the runs whose mean has the best mean recall on the selection role."),
    ] = "all",
    network: Annotated[
        bool,
        typer.Option("--network", help="Join the networks of runs into one, as a run; logits are averaged."),
    ] = False,
    data: RunData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Average the predictions of several runs or cross-fits, and score them."""
    if network:
        from dermlens.studies.joined import join

        if choose != "all" or mean != "probabilities":
            raise UserError(
                "--network joins all runs that are named, by their logits: leave --choose and --mean out"
            )
        join(members, out, data=data, device=device, cache=cache)
        console.print(f"joined network: {out}; next: dermlens calibrate {out}")
        return
    from dermlens.studies.ablation_page import render_study
    from dermlens.studies.ensemble import ensemble as average

    _check_unused("--network", data, device, cache)
    facts = average(members, out, mean=mean, choose=choose)
    console.print(render_study(facts))
    if chosen := facts.get("chosen"):
        kept = ", ".join(one["folder"] for one in facts["members"])
        console.print(f"chosen of {len(chosen['of'])}: {kept}; its selection role chose it and flatters it")
    console.print(f"ensemble: {out}")


def soup(
    members: Members,
    out: Out,
    data: RunData = None,
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


def soft_labels(
    members: Members,
    out: Annotated[Path, out_file("The CSV to write.")] = Path("soft_labels.csv"),
    mean: Mean = "probabilities",
    of_training: Annotated[
        bool,
        typer.Option("--of-training", help="Of runs, for the images that each was trained on."),
    ] = False,
    within: Annotated[
        int | None,
        typer.Option(metavar="FOLD", min=0, help="Of cross-fits by pair, for a student scored on this fold."),
    ] = None,
    data: RunData = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Write soft labels for distillation: predictions out of fold, or those of a run's training images."""
    from dermlens.studies import ensemble

    if of_training and within is not None:
        raise UserError("--of-training and --within make different labels: name one")
    if of_training:
        labels = ensemble.training_labels(members, out, mean=mean, data=data, device=device, cache=cache)
    else:
        _check_unused("--of-training", data, device, cache)
        if within is None:
            labels = ensemble.soft_labels(members, out, mean=mean)
        else:
            labels = ensemble.labels_within(members, within, out, mean=mean)
    count = len(labels)
    console.print(f"written: {out}, {count} images; --set train.distillation.soft_labels={out}")


def _check_unused(switch: str, data: Path | None, device: str, cache: Path | None) -> None:
    """Refuse the options of a network where none runs; `switch` is the option with which one would."""
    written = [
        name
        for name, given in (("--data", data), ("--device", device != "auto"), ("--cache", cache))
        if given
    ]
    if written:
        raise UserError(
            f"{', '.join(written)}: no network runs here, stored predictions are read; "
            f"leave {'it' if len(written) == 1 else 'them'} out, or add {switch}"
        )


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
