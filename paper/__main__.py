"""The commands of the paper's study: python -m paper plan | run | report | publish."""

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
from paper.plan import plan as planned
from paper.publication import publish as copy
from paper.publication import render_again, render_plan
from paper.report.page import write_report
from paper.study import Job, Study, paper_study, require_results
from paper.work import Site, Worker

paper = batch.program("paper", "The paper's experiments, run again, and its tables next to ours.")
PUBLISHED = Path("docs/results/paper")


@paper.command()
def plan(
    out: Out = None,
    results: Results = PUBLISHED,
    only: Only = None,
    weights: Weights = None,
    device: Device = "auto",
    write: PlanFile = None,
    data: PlanData = None,
) -> None:
    """List every run with its state; run nothing."""
    batch.check_folder(out)
    study, chosen = _chosen(only, weights)
    gpu = resolve_device(device) == "cuda"
    if out is None:
        require_results(results)
    rows = planned(study, chosen, Folders(out, results), gpu=gpu)
    console.print(render_plan(rows))
    if write is not None:
        left = [row.job for row in rows if row.state == "to do"]
        batch.write_plan(write, "paper", left, batch.command_words(data, out, weights))


@paper.command()
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
    """Train what there is to train. Run again to go on."""
    batch.check_folder(out)
    study, chosen = _chosen(only, weights)
    gpu = resolve_device(device) == "cuda"
    site = Site(data, Folders(out, results, again=only is not None), device, cache, gpu, weights)
    left = Worker(study, site).work(chosen, jobs)
    for row in planned(study, chosen, site.folders, gpu=gpu):
        if row.state == "to do":
            console.print(f"{row.job.id}: left: {row.note}")
    if only is not None:
        console.print(render_again(chosen, out, results))
    console.print(f"study: {out}; next: python -m paper publish, then report")
    batch.check_left(left, len(chosen))


@paper.command()
def report(
    results: Results = PUBLISHED,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="The folder of HAM10000.")] = None,
) -> None:
    """Write tables, figures and page from what is published."""
    console.print(f"report: {write_report(results, results / 'report', data=data, say=console.print)}")


@paper.command()
def publish(data: Ham10000, out: WorkIn, results: Results = PUBLISHED, weights: Weights = None) -> None:
    """Copy ids and numbers of what is done from --out to --results."""
    batch.check_folder(out)
    copy(paper_study(weights), data, out, results)
    console.print(f"published: {results}; next: python -m paper report")


def _chosen(only: str | None, weights: Path | None) -> tuple[Study, tuple[Job, ...]]:
    """The study, and the runs of it that are asked for."""
    wanted = batch.chosen_names(only, "paper")
    study = paper_study(weights)
    return study, study.chosen(wanted)


if __name__ == "__main__":
    main(paper)
