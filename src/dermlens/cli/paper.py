"""The verb of the paper's study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from dermlens.cli.app import Cache, Device, app, console, names, to_folder
from dermlens.errors import UserError


@app.command()
def study(
    which: Annotated[Literal["paper"], typer.Argument(help="The study.")],
    data: Annotated[Path | None, typer.Option("--data", "-d", help="The folder of HAM10000.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The folder to work in; one that is there goes on.", callback=to_folder
        ),
    ] = None,
    results: Annotated[Path, typer.Option(help="What is published of the study.", callback=to_folder)] = Path(
        "docs/results/paper"
    ),
    plan: Annotated[bool, typer.Option("--plan", help="List every run with its state; run nothing.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write tables, figures and page from what is published.")
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Copy what is done from --out to --results; run nothing.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(help="Runs, comma-separated, such as questions/base or probes; published ones again."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 1,
    weights: Annotated[
        Path | None,
        typer.Option(help="A folder of ImageNet weights, <backbone>….safetensors; else the recipes' own."),
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Run the paper's experiments and print its tables beside ours. Run again to go on."""
    del which  # the only one there is
    from dermlens.studies.paper.plan import Folders, with_running
    from dermlens.studies.paper.plan import plan as planned
    from dermlens.studies.paper.study import paper_study
    from dermlens.studies.paper.tables import require_results
    from dermlens.studies.paper.words import render_again, render_plan
    from dermlens.training.device import resolve_device

    if sum((plan, report, publish)) > 1:
        raise UserError("--plan, --report and --publish are three errands: give one of them")
    if only is not None and not only.strip(","):
        raise UserError("--only names no run; leave it out for all, or see --plan")
    if report and (out is not None or only is not None):
        raise UserError("--report writes to --results, and all of it: leave --out and --only out")
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder to work in")
    if report:
        from dermlens.studies.paper.report import write_report

        console.print(f"report: {write_report(results, results / 'report', data=data)}")
        return
    ours = paper_study(weights)
    chosen = ours.chosen(names(only))
    gpu = resolve_device(device) == "cuda"
    if plan:
        if out is None:
            require_results(results)
        folders = Folders(out, results)
        rows = with_running(planned(ours, chosen, folders, gpu=gpu), folders)
        console.print(render_plan(rows))
        return
    if data is None or out is None:
        raise UserError(
            "name the data and a folder to work in: dermlens study paper --data DIR --out OUT"
            f"{' --publish' if publish else ' (or --plan, or --report)'}"
        )
    if publish:
        from dermlens.studies.paper.published import publish as copy

        copy(ours, data, out, results)
        console.print(f"published: {results}; next: dermlens study paper --report")
        return
    from dermlens.studies.paper.work import Site, Worker, work_together

    if jobs > 1:
        raise typer.Exit(work_together(jobs, _without_jobs(sys.argv[1:])))
    site = Site(data, Folders(out, results, again=only is not None), device, cache, gpu, weights)
    failed = Worker(ours, site, say=console.print).work(chosen)
    for row in with_running(planned(ours, chosen, site.folders, gpu=gpu), site.folders):
        if row.state == "to do":
            console.print(f"{row.job.id}: left: {row.note or 'another process has it'}")
    if only is not None:
        console.print(render_again(chosen, out, results))
    console.print(f"study: {out}; next: --publish, then --report")
    if failed:
        raise UserError(f"{len(failed)} of {len(chosen)} runs failed, {failed[0].id} first; see --plan")


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
