"""The commands of the comparison: python -m related plan | run | unseen | report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import Verbs, console, main
from dermlens.cli.options import Cache, Device, names
from dermlens.errors import UserError
from dermlens.training.machine import resolve_device
from paper.plan import Folders
from related.plan import plan as planned
from related.plan import render, with_running
from related.publication import publish
from related.report import write_report
from related.study import Job, Study, load_study
from related.unseen import publish_unseen
from related.work import Site, Worker

related = typer.Typer(
    name="python -m related",
    cls=Verbs,
    add_completion=False,
    help="The systems that the paper compares itself with, on one ground.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Results = Annotated[Path, typer.Option(help="What is published of the comparison.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The folder that is worked in.")]
Only = Annotated[str | None, typer.Option(help="Runs, comma-separated, such as garg-forest; published too.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="A folder of ImageNet weights, <backbone>….safetensors; else the recipes' own."),
]
PUBLISHED = Path("docs/results/related")


@related.command()
def plan(out: Out = None, results: Results = PUBLISHED, only: Only = None) -> None:
    """List every run with its state and hours; run nothing."""
    _check_folder(out)
    study, chosen = _chosen(only, None)
    console.print(render(with_running(planned(study, chosen, Folders(out, results)), out), study))


@related.command()
def run(
    data: Annotated[Path, typer.Option("--data", "-d", help="The folder of HAM10000.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder to work in; one that is there goes on.")
    ],
    results: Results = PUBLISHED,
    only: Only = None,
    weights: Weights = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Train what there is to train, fold by fold. Run again to go on."""
    _check_folder(out)
    study, chosen = _chosen(only, weights)
    folders = Folders(out, results, again=only is not None)
    site = Site(data, folders, device=resolve_device(device), cache=cache, weights=weights)
    failed = Worker(study, site, say=console.print).work(chosen)
    console.print(f"worked in: {out}; next: python -m related report --out {out}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(chosen)} runs failed, {failed[0].id} first; see python -m related plan"
        )


@related.command()
def unseen(
    data: Annotated[Path, typer.Option("--data", "-d", help="The folder of HAM10000.")],
    results: Results = PUBLISHED,
    weights: Weights = None,
    cache: Cache = None,
) -> None:
    """Leave one class out after the other, and publish how well it is found to be strange."""
    site = Site(data, Folders(None, results), cache=cache, weights=weights)
    for scores in Worker(load_study(weights), site, say=console.print).unseen():
        publish_unseen(scores, results / "unseen")  # so that what is stopped leaves its whole folds
    console.print(f"published: {results / 'unseen'}; next: python -m related report")


@related.command()
def segment(
    images: Annotated[Path, typer.Argument(help="A folder of images.")],
    network: Annotated[Path, typer.Option(help="The folder of a U-Net, as train-unet leaves it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of masks to write.")],
) -> None:
    """Write the lesion mask of every image of a folder."""
    from related.segmentation import load_unet, write_masks

    unet, recipe = load_unet(network)
    masks = list(write_masks(unet, recipe, images, out))
    console.print(f"masks: {len(masks)} in {out}")


@related.command("train-unet")
def train_unet(
    recipe: Annotated[Path, typer.Argument(help="Such as related/recipes/unet/masks.yaml.")],
    data: Annotated[Path, typer.Option("--data", "-d", help="The folder of HAM10000, masks in it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the U-Net to write.")],
    weights: Weights = None,
    cache: Cache = None,
) -> None:
    """Train a U-Net on all folds but one, and score it by lesion on that one."""
    from related.unet import fit_unet

    for name, value in fit_unet(recipe, data, out, weights=weights, cache=cache, say=console.print).items():
        console.print(f"{name}: {value}")


@related.command()
def report(out: Out = None, results: Results = PUBLISHED) -> None:
    """Publish what is done in --out, and write table, figure and page from what is published."""
    _check_folder(out)
    study = load_study()
    if out is not None:
        for name in publish(study, out, results):
            console.print(f"published: {name}")
    console.print(f"report: {write_report(study, results)}")


def _chosen(only: str | None, weights: Path | None) -> tuple[Study, tuple[Job, ...]]:
    """The comparison, and the runs of it that are asked for."""
    if only is not None and not only.strip(","):
        raise UserError("--only names no run; leave it out for all, or see python -m related plan")
    study = load_study(weights)
    return study, study.chosen(names(only))


def _check_folder(out: Path | None) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder to work in")


if __name__ == "__main__":
    main(related)
