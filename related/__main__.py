"""The commands of the comparison: python -m related plan | run | unseen | report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import console, main
from dermlens.cli.options import Cache, Device
from dermlens.training.machine import resolve_device
from paper import batch
from paper.batch import Ham10000, Only, Out, PlanData, PlanFile, Processes, Results, Weights, WorkIn
from paper.plan import Folders
from related.away import publish_away, read_away
from related.plan import hours_left, render, render_systems
from related.plan import plan as planned
from related.publication import publish
from related.report import write_report
from related.study import Job, Study, load_study
from related.unseen import UNSEEN, UNSEEN_TRAINED, publish_unseen
from related.unseen_networks import frozen_scores, train_all, trained_scores
from related.work import Site, Worker

related = batch.program("related", "The systems that the paper compares itself with, on one ground.")
PUBLISHED = Path("docs/results/related")


@related.command()
def plan(
    out: Out = None,
    results: Results = PUBLISHED,
    only: Only = None,
    weights: Weights = None,
    write: PlanFile = None,
    data: PlanData = None,
) -> None:
    """List every run with its state and hours, and then every system; run nothing."""
    batch.check_folder(out)
    study, chosen = _chosen(only, weights)
    rows = planned(study, chosen, Folders(out, results))
    console.print(render(rows))
    console.print(render_systems(rows, study))
    console.print(hours_left(rows))
    if write is not None:
        left = [row.job for row in rows if row.state == "to do"]
        batch.write_plan(write, "related", left, batch.command_words(data, out, weights))


@related.command()
def run(
    data: Ham10000,
    out: WorkIn,
    results: Results = PUBLISHED,
    only: Only = None,
    jobs: Processes = 1,
    weights: Weights = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Train what there is to train, fold by fold. Run again to go on."""
    batch.check_folder(out)
    study, chosen = _chosen(only, weights)
    folders = Folders(out, results, again=only is not None)
    site = Site(data, folders, device=resolve_device(device), cache=cache, weights=weights)
    left = Worker(study, site).work(chosen, jobs)
    console.print(f"worked in: {out}; next: python -m related report --out {out}")
    batch.check_left(left, len(chosen))


@related.command()
def away(
    data: Annotated[Path, typer.Option("--data", "-d", help="The folder with ham10000 and the source.")],
    source: Annotated[str, typer.Option("--source", help="milk10k or isic2017.")],
    out: WorkIn,
    results: Results = PUBLISHED,
    only: Only = None,
    weights: Weights = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Ask what was trained into --out of another clinic's images, and publish what it says."""
    batch.check_folder(out)
    study, chosen = _chosen(only, weights)
    table = read_away(data, source, study.folds)
    site = Site(
        data / "ham10000", Folders(out, results), device=resolve_device(device), cache=cache, weights=weights
    )
    for system, seed, found in Worker(study, site, say=console.print).away(table, chosen):
        publish_away(results, source, system, seed, found)
        console.print(f"published: {system.id}, seed {seed}, {source}")
    console.print("next: python -m related report")


@related.command()
def unseen(
    data: Annotated[Path, typer.Option("--data", "-d", help="The folder of HAM10000.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Train networks without the class, in this folder.")
    ] = None,
    results: Results = PUBLISHED,
    only: Annotated[str | None, typer.Option("--only", help="With --out: such as df or df/fold-2.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Leave one class out after the other, and publish how well its images are detected.

    Without --out the network is a frozen one of ImageNet.
    """
    batch.check_folder(out)
    site = Site(data, Folders(out, results), device=resolve_device(device), cache=cache, weights=weights)
    worker = Worker(load_study(weights), site, say=console.print)
    if out is None:
        for scores in frozen_scores(worker):
            publish_unseen(scores, results / UNSEEN)  # so that what is stopped leaves its whole folds
    else:
        train_all(worker, batch.chosen_names(only, "related"))
        publish_unseen(trained_scores(worker), results / UNSEEN_TRAINED)
    console.print(f"published in: {results}; next: python -m related report")


@related.command("train-unet")
def train_unet(
    recipe: Annotated[Path, typer.Argument(help="Such as related/recipes/unet/masks.yaml.")],
    data: Annotated[Path, typer.Option("--data", "-d", help="The folder of HAM10000, masks in it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the U-Net to write.")],
    weights: Weights = None,
    cache: Cache = None,
) -> None:
    """Train a U-Net on all folds but one, score it by lesion on that one, export it for dermlens segment."""
    from related.unet import fit_unet

    for name, value in fit_unet(recipe, data, out, weights=weights, cache=cache, say=console.print).items():
        console.print(f"{name}: {value}")
    console.print(f"written: {out}; next: dermlens segment IMAGES --model {out} --out masks")


@related.command()
def report(out: Out = None, results: Results = PUBLISHED) -> None:
    """Publish what is done in --out, and write table, figure and page from what is published."""
    batch.check_folder(out)
    study = load_study()
    if out is not None:
        for name in publish(study, out, results):
            console.print(f"published: {name}")
    console.print(f"report: {write_report(study, results)}")


def _chosen(only: str | None, weights: Path | None) -> tuple[Study, tuple[Job, ...]]:
    """The comparison, and the runs of it that are asked for."""
    wanted = batch.chosen_names(only, "related")
    study = load_study(weights)
    return study, study.chosen(wanted)


if __name__ == "__main__":
    main(related)
