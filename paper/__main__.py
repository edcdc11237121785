"""The commands of the paper's study: python -m paper plan | run | report | publish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import Verbs, console, main
from dermlens.cli.options import Cache, Device, names
from dermlens.errors import UserError
from dermlens.training.machine import resolve_device
from paper.plan import Folders, with_running
from paper.plan import plan as planned
from paper.publication import publish as copy
from paper.publication import render_again, render_plan
from paper.report.page import write_report
from paper.study import Job, Study, paper_study, require_results
from paper.work import Site, Worker, work_together

paper = typer.Typer(
    name="python -m paper",
    cls=Verbs,
    add_completion=False,
    help="The paper's experiments, run again, and its tables beside ours.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Ham10000 = Annotated[Path, typer.Option("--data", "-d", help="The folder of HAM10000.")]
Results = Annotated[Path, typer.Option(help="What is published of the study.")]
Only = Annotated[
    str | None,
    typer.Option(help="Runs, comma-separated, such as questions/base or probes; published ones again."),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="A folder of ImageNet weights, <backbone>….safetensors; else the recipes' own."),
]
PUBLISHED = Path("docs/results/paper")


@paper.command()
def plan(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder that is worked in.")] = None,
    results: Results = PUBLISHED,
    only: Only = None,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """List every run with its state; run nothing."""
    _check_folder(out)
    study, chosen = _chosen(only, weights)
    gpu = resolve_device(device) == "cuda"
    if out is None:
        require_results(results)
    folders = Folders(out, results)
    console.print(render_plan(with_running(planned(study, chosen, folders, gpu=gpu), folders)))


@paper.command()
def run(
    data: Ham10000,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder to work in; one that is there goes on.")
    ],
    results: Results = PUBLISHED,
    only: Only = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 1,
    weights: Weights = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Train what there is to train. Run again to go on."""
    _check_folder(out)
    study, chosen = _chosen(only, weights)
    gpu = resolve_device(device) == "cuda"
    if jobs > 1:
        raise typer.Exit(work_together(jobs, _without_jobs(sys.argv[1:])))
    site = Site(data, Folders(out, results, again=only is not None), device, cache, gpu, weights)
    failed = Worker(study, site, say=console.print).work(chosen)
    for row in with_running(planned(study, chosen, site.folders, gpu=gpu), site.folders):
        if row.state == "to do":
            console.print(f"{row.job.id}: left: {row.note or 'another process has it'}")
    if only is not None:
        console.print(render_again(chosen, out, results))
    console.print(f"study: {out}; next: python -m paper publish, then report")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(chosen)} runs failed, {failed[0].id} first; see python -m paper plan"
        )


@paper.command()
def report(
    results: Results = PUBLISHED,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="The folder of HAM10000.")] = None,
) -> None:
    """Write tables, figures and page from what is published."""
    console.print(f"report: {write_report(results, results / 'report', data=data, say=console.print)}")


@paper.command()
def publish(
    data: Ham10000,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder that was worked in.")],
    results: Results = PUBLISHED,
    weights: Weights = None,
) -> None:
    """Copy ids and numbers of what is done from --out to --results."""
    _check_folder(out)
    copy(paper_study(weights), data, out, results)
    console.print(f"published: {results}; next: python -m paper report")


def _chosen(only: str | None, weights: Path | None) -> tuple[Study, tuple[Job, ...]]:
    """The study, and the runs of it that are asked for."""
    if only is not None and not only.strip(","):
        raise UserError("--only names no run; leave it out for all, or see python -m paper plan")
    study = paper_study(weights)
    return study, study.chosen(names(only))


def _check_folder(out: Path | None) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder to work in")


def _without_jobs(arguments: list[str]) -> list[str]:
    """The command line for one of several processes."""
    kept = []
    words = iter(arguments)
    for word in words:
        if word == "--jobs":
            next(words, None)
        elif not word.startswith("--jobs="):
            kept.append(word)
    return kept


if __name__ == "__main__":
    main(paper)
