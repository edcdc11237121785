"""Verbs about runs: train one, score it, report it, compare it."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dermlens.cli.app import (
    Cache,
    Columns,
    Device,
    Labels,
    OptionalData,
    RunFolder,
    ValueMaps,
    app,
    console,
    say,
    source_maps,
    to_file,
    to_folder,
)
from dermlens.errors import UserError

if TYPE_CHECKING:
    from dermlens.runs import Run


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's file or name; see `dermlens recipes`.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="Folder with the images and labels.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run directory to make.", callback=to_folder)
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override the recipe.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue this run where it was stopped.")] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, each with a device of its own.")] = 1,
    cache: Cache = None,
    logger: Annotated[
        Literal["csv", "tensorboard", "mlflow"], typer.Option(help="Where else the history goes.")
    ] = "csv",
) -> None:
    """Train a recipe on a data set; the run directory holds everything that came of it."""
    from dermlens.recipe import load_recipe
    from dermlens.training.fit import fit, resume_fit

    if resume is not None:
        if recipe is not None or overrides or out is not None:
            raise UserError(
                "--resume goes on with the run's own recipe and folder: leave RECIPE, --set and --out out"
            )
        run = resume_fit(
            resume, data=data, device=device, devices=devices, cache=cache, logger=logger, say=say
        )
    else:
        if recipe is None or data is None:
            raise UserError("name a recipe and its data: dermlens train RECIPE --data DIR (or --resume RUN)")
        loaded = load_recipe(recipe, overrides or ())
        folder = out or _fresh(Path("runs"), loaded.name)
        run = fit(
            loaded, data, out=folder, device=device, devices=devices, cache=cache, logger=logger, say=say
        )
    console.print(f"trained: {run.path}; next: dermlens evaluate {run.path}")


CaseMix = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="MIX",
        help="Case mix: specialist, equal, ham10000, or a share of each class: mel=0.2,nv=0.8,…",
    ),
]


def case_mix(run: Run, prior: str | None) -> tuple[float, ...] | str | None:
    """What `--prior` says, for the classes of a run. Raises: UserError."""
    from dermlens.predict.document import read_document
    from dermlens.predict.priors import OWN, parse_prior

    if prior is None:
        return None
    mix = parse_prior(prior, read_document(run.path / "model.json").classes)
    return mix.shares if mix.name == OWN else mix.name


@app.command()
def evaluate(
    run: RunFolder,
    data: OptionalData = None,
    open_test: Annotated[
        bool, typer.Option("--open-test", help="Score the test role, and enter it in the run's ledger.")
    ] = False,
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="A ledger of several runs to enter an opened test in, besides the run's own.",
            callback=to_file,
        ),
    ] = None,
    column: Columns = None,
    label: Labels = None,
    value: ValueMaps = None,
    prior: CaseMix = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Score a run on its own roles, or on any labelled set."""
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
        **source_maps(column, label, value),
    )
    console.print(render_metrics(metrics))
    if (looks := run_openings(opened)).opened:
        console.print(looks.sentence())


@app.command()
def report(run: RunFolder, data: OptionalData = None) -> None:
    """Write the report page and the model card of an evaluated run."""
    from dermlens.report.page import what_the_numbers_mean, write_report
    from dermlens.runs import Run

    opened = Run.open(run)
    page = write_report(opened, data=data)
    for said in what_the_numbers_mean(opened):
        console.print(f"- {said}")
    console.print(f"report: {page}")


@app.command()
def calibrate(
    run: RunFolder,
    data: OptionalData = None,
    ood: Annotated[
        Literal["energy", "mahalanobis", "knn"], typer.Option(help="Out-of-distribution score.")
    ] = "energy",
    prior: CaseMix = None,
    out_of_fold: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Fit it on these predictions of a cross-fit, not on the calibration role."
        ),
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Calibrate a run: probabilities at a case mix, marks of suspicion, sets, abstention."""
    from dermlens.calibration.decision import calibrate_run
    from dermlens.runs import Run

    opened = Run.open(run)
    mix = case_mix(opened, prior)
    calibrate_run(opened, data=data, ood=ood, prior=mix, out_of_fold=out_of_fold, device=device, cache=cache)
    console.print(f"calibrated: {run}; next: dermlens evaluate {run}")


@app.command()
def publish(
    run: RunFolder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.", callback=to_folder)],
) -> None:
    """Copy what can be published of a run or a cross-fit: no weights, no pictures, predictions compressed."""
    from dermlens.evaluation.publish import publish_run
    from dermlens.runs import Run
    from dermlens.studies.by_source import RECORD as BY_SOURCE
    from dermlens.studies.by_source import publish_by_source
    from dermlens.studies.crossfit import RECORD, publish_crossfit

    if (run / BY_SOURCE).is_file():
        publish_by_source(run, folder)
        console.print(f"published: {folder}")
        return

    if (run / RECORD).is_file():
        publish_crossfit(run, folder)
        console.print(f"published: {folder}")
        return
    publish_run(Run.open(run), folder)
    console.print(f"published: {folder}; `dermlens evaluate {folder}` computes its metrics anew")


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN…", help="The first is what the others are compared with.")
    ],
    figure: Annotated[
        Path | None,
        typer.Option(help="Also draw recall and F1 per class to this SVG or PNG.", callback=to_file),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Put runs side by side, with paired intervals for the differences; or cross-fits by source, by loss."""
    from dermlens.evaluation.comparison import compare_runs
    from dermlens.evaluation.transfer import decide
    from dermlens.runs import Run
    from dermlens.studies.ablation_page import render_decision
    from dermlens.studies.by_source import RECORD as BY_SOURCE
    from dermlens.studies.by_source import left_out_predictions

    if all((path / BY_SOURCE).is_file() for path in runs) and len(runs) > 1:
        baseline = left_out_predictions(runs[0])
        decisions = {path: decide(left_out_predictions(path), baseline) for path in runs[1:]}
        if as_json:
            print(json.dumps({str(path): asdict(one) for path, one in decisions.items()}, indent=2))
            return
        for path, one in decisions.items():
            console.print(render_decision((path.resolve().name, runs[0].resolve().name), one))
        return

    compared = compare_runs([Run.open(path) for path in runs])
    if as_json:
        print(json.dumps(compared.to_json(), indent=2))
    else:
        console.print(compared.render())
    if figure is not None:
        from dermlens.report.figures import save_comparison

        save_comparison([Run.open(path) for path in runs], figure, compared.roles)
        console.print(f"figure: {figure}")


def _fresh(folder: Path, name: str) -> Path:
    """The first of name, name-2, name-3 … that is not taken."""
    return next(
        path
        for n in itertools.count(1)
        if not (path := folder / (name if n == 1 else f"{name}-{n}")).exists()
    )
