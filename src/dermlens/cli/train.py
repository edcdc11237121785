"""Verbs about runs: train one, calibrate it, score it, report it, compare it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dermlens.cli.app import console, say
from dermlens.cli.options import (
    Cache,
    CaseMix,
    Classes,
    Columns,
    Data,
    Device,
    Json,
    Labels,
    MaybeData,
    Overrides,
    Photographs,
    RunData,
    RunFolder,
    Skip,
    ValueMaps,
    named_folders,
    names,
    out_file,
    out_folder,
    recipe_overrides,
    source_maps,
    to_file,
)
from dermlens.errors import UserError

if TYPE_CHECKING:
    from dermlens.runs import Run


def start(
    data: Data,
    out: Annotated[Path, out_file("The recipe to write.")] = Path("recipe.yaml"),
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    classes: Classes = None,
) -> None:
    """Verify a data set of your own, write a first recipe for it, and print what to run next."""
    from dermlens.training.first_recipe import start as write_recipe

    maps = source_maps(column, label, value, skip, classes)
    found = write_recipe(data, out, classes=names(classes), **maps)
    console.print(found.verification.render())
    if not found.commands:
        raise typer.Exit(2)
    say(f"written: {out}; next:")
    for command in found.commands:
        print(f"    {command}")  # in one piece, to be copied


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's file or name; see `dermlens model recipes`.")
    ] = None,
    data: MaybeData = None,
    out: Annotated[Path | None, out_folder("The run directory to make; else runs/NAME.")] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue this run where it was stopped.")
    ] = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    classes: Classes = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, each with a device of its own.")] = 1,
    cache: Cache = None,
    logger: Annotated[
        Literal["csv", "tensorboard", "mlflow"], typer.Option(help="Where else the history goes.")
    ] = "csv",
) -> None:
    """Train a recipe on a data set; the run directory holds everything that comes of it."""
    from dermlens.files import fresh_folder
    from dermlens.recipe import load_recipe
    from dermlens.training.fit import fit, resume_fit

    changed = recipe_overrides(overrides, source_maps(column, label, value, skip, classes), classes)
    if resume is not None:
        if recipe is not None or changed or out is not None:
            raise UserError(
                "--resume goes on with the run's own recipe and folder: leave RECIPE, --out and all that"
                " changes the recipe out"
            )
        run = resume_fit(
            resume, data=data, device=device, devices=devices, cache=cache, logger=logger, say=say
        )
    else:
        if recipe is None or data is None:
            raise UserError("name a recipe and its data: dermlens train RECIPE --data DIR (or --resume RUN)")
        loaded = load_recipe(recipe, changed, trust_code=True)
        folder = out or fresh_folder(Path("runs"), loaded.name)
        run = fit(
            loaded, data, out=folder, device=device, devices=devices, cache=cache, logger=logger, say=say
        )
    console.print(f"trained: {run.path}; next: dermlens evaluate {run.path}")


def case_mix(run: Run, prior: str | None) -> tuple[float, ...] | str | None:
    """What `--prior` says, for the classes of a run. Raises: UserError."""
    from dermlens.predict.document import read_document
    from dermlens.predict.priors import OWN, parse_prior

    if prior is None:
        return None
    mix = parse_prior(prior, read_document(run.path / "model.json").classes)
    return mix.shares if mix.name == OWN else mix.name


def calibrate(
    run: RunFolder,
    data: RunData = None,
    ood: Annotated[
        Literal["energy", "mahalanobis", "knn"] | None,
        typer.Option(help="Out-of-distribution score; energy by default."),
    ] = None,
    prior: CaseMix = None,
    out_of_fold: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Fit it on these predictions of a cross-fit, not on the calibration role."
        ),
    ] = None,
    not_dermoscopy: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]DIR", help="Labelled folder of pictures that are not dermoscopy."),
    ] = None,
    dermoscopy: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]DIR", help="Labelled folder of dermoscopy from elsewhere."),
    ] = None,
    photographs: Photographs = None,
    dermoscopy_kept: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Share of dermoscopy that shall pass.")
    ] = 0.98,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Calibrate a run: probabilities at a case mix, marks of suspicion, prediction sets, abstention.

    With --not-dermoscopy or --photographs, fit what recognises dermoscopy instead, and leave the decision as
    it is: other pictures then get no probabilities. --column, --label, --value and --skip are for those of
    these folders that cannot be read without them.
    """
    from dermlens.calibration.decision import calibrate_run
    from dermlens.calibration.dermoscopy import learn_dermoscopy
    from dermlens.runs import Run
    from dermlens.studies.out_of_distribution import read_sets

    if not (not_dermoscopy or dermoscopy or photographs):
        opened = Run.open(run)
        calibrate_run(
            opened,
            data=data,
            ood=ood or "energy",
            prior=case_mix(opened, prior),
            out_of_fold=out_of_fold,
            device=device,
            cache=cache,
            say=say,
        )
        console.print(f"calibrated: {run}; next: dermlens evaluate {run}")
        return
    for option, given in (("--ood", ood), ("--prior", prior), ("--out-of-fold", out_of_fold)):
        if given is not None:
            raise UserError(
                f"{option} is part of the decision: give it without --not-dermoscopy and --photographs"
            )
    maps = source_maps(column, label, value, skip)
    sides = (
        read_sets(named_folders(dermoscopy, "--dermoscopy"), maps, where_needed=True, say=say),
        read_sets(
            named_folders(not_dermoscopy, "--not-dermoscopy"), maps, photographs, where_needed=True, say=say
        ),
    )
    opened = Run.open(run)
    table = learn_dermoscopy(
        opened, *sides, kept=dermoscopy_kept, data=data, device=device, cache=cache, say=say
    )
    console.print(table.round(3).to_string(index=False))
    console.print(f"written: {opened.path / 'model.json'}, {opened.path / 'dermoscopy.csv'}")


def evaluate(
    run: RunFolder,
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", metavar="DIR", help="Another labelled set; else the run's own."),
    ] = None,
    open_test: Annotated[
        bool, typer.Option("--open-test", help="Score the test role, and enter it in the run's ledger.")
    ] = False,
    ledger: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also enter an opened test in this ledger of several runs.",
            callback=to_file,
        ),
    ] = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    skip: Skip = None,
    prior: CaseMix = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Score a run on its own held-out roles, or on any labelled set."""
    from dermlens.evaluation.comparison import render_metrics
    from dermlens.evaluation.evaluate import evaluate_run
    from dermlens.evaluation.ledger import run_openings
    from dermlens.runs import Run

    opened = Run.open(run)
    before = run_openings(opened)
    if open_test and before.opened:
        console.print(f"{before.sentence()} This is another look, and is entered as one.")
    metrics = evaluate_run(
        opened,
        data=data,
        open_test=open_test,
        ledger=ledger,
        device=device,
        cache=cache,
        prior=case_mix(opened, prior),
        say=say,
        **source_maps(column, label, value, skip),
    )
    console.print(render_metrics(metrics))
    if (looks := run_openings(opened)).opened:
        console.print(looks.sentence())


def report(run: RunFolder, data: RunData = None) -> None:
    """Write the report page and the model card of an evaluated run."""
    from dermlens.report import run_data
    from dermlens.report.page import write_report
    from dermlens.runs import Run

    opened = Run.open(run)
    page = write_report(opened, data=data)
    for sentence in run_data.RunData(opened).protocol_words:
        console.print(f"- {sentence}")
    console.print(f"report: {page}")


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN…", help="The first is what the others are compared with.")
    ],
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also draw recall and F1 per class to this SVG or PNG.", callback=to_file
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put runs side by side, with paired intervals for the differences; or cross-fits by source, by loss."""
    from dermlens.studies.folders import compare as compare_folders

    compared = compare_folders(runs, figure)
    if as_json:
        print(json.dumps(compared.numbers, indent=2))
        return
    for table in compared.tables:
        console.print(table)
    if figure is not None:
        console.print(f"figure: {figure}")
