"""The verbs of the command line: arguments in, one call, words out."""

from __future__ import annotations

import itertools
import json
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from dermlens import __version__
from dermlens.errors import UserError, missing_extra


class StoppedError(Exception):
    """Ctrl-C, with what there is to say of it; Typer itself would end without a word."""


class Verbs(TyperGroup):
    """The verbs, any of which may be interrupted."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise StoppedError(str(error) or "interrupted") from error


app = typer.Typer(
    name="dermlens",
    cls=Verbs,
    add_completion=False,
    help="Train, evaluate and explain classifiers of dermoscopic images. "
    "Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)

Data = Annotated[Path, typer.Option("--data", "-d", help="Folder (or CSV) with the images and their labels.")]
OptionalData = Annotated[
    Path | None, typer.Option("--data", "-d", help="Another labelled set; by default the run's own.")
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory, as `dermlens train` makes it.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Cache = Annotated[
    Path | None, typer.Option(help="Where decoded pixels are kept (else $DERMLENS_CACHE, ~/.cache/dermlens).")
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", metavar="OURS=THEIRS", help="Name a column of your own CSV.")
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="THEIRS=OURS", help="Map one of your labels to ours.")
]
Classes = Annotated[str | None, typer.Option(help="Your own labels, comma-separated.")]


def main() -> None:
    """Run the command line; turn errors into one sentence and an exit code."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        _stop(str(error), 2)
    except ModuleNotFoundError as error:
        if (sentence := missing_extra(error)) is None:
            raise
        _stop(sentence, 2)
    except StoppedError as error:
        _stop(str(error), 130)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        _stop(f"{error.filename}: {error.strerror}", 2)
    except Exception as error:
        if hasattr(error, "format_message"):  # the command line's own usage errors
            _stop(f"{error.format_message()} (dermlens --help)", 2)
        traceback.print_exc()
        _stop(
            f"this is our mistake, not yours: {type(error).__name__}; please report it with the lines above",
            1,
        )
    sys.exit(code if isinstance(code, int) else 0)


def _stop(sentence: str, code: int) -> NoReturn:
    print(f"dermlens: {sentence}", file=sys.stderr)
    sys.exit(code)


def _pairs(words: list[str] | None, option: str) -> dict[str, str]:
    """`a=b` words as a mapping."""
    pairs: dict[str, str] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not (equals and key and value):
            raise UserError(f"{option} {word}: write it as {option} a=b")
        pairs[key] = value
    return pairs


def _names(words: str | None) -> tuple[str, ...] | None:
    return tuple(words.split(",")) if words else None


def _fresh(folder: Path, name: str) -> Path:
    """The first of name, name-2, name-3 … that is not taken."""
    return next(
        path
        for n in itertools.count(1)
        if not (path := folder / (name if n == 1 else f"{name}-{n}")).exists()
    )


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"dermlens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Nothing before the verb but --version and --help."""


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder (or CSV) with images and labels.")],
    column: Columns = None,
    label: Labels = None,
    classes: Classes = None,
    near_duplicates: Annotated[bool, typer.Option(help="Also look for images that nearly agree.")] = True,
) -> None:
    """Say what is in a data set and what is wrong with it."""
    from dermlens.data.verify import verify as verify_folder

    found = verify_folder(
        folder,
        columns=_pairs(column, "--column"),
        labels=_pairs(label, "--label"),
        classes=_names(classes),
        near_duplicates=near_duplicates,
    )
    console.print(found.render())
    if found.problems:
        raise typer.Exit(2)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="ham10000, isic2018-test, …")],
    destination: Annotated[Path | None, typer.Option("--to", help="Folder; else data/NAME.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You accept the shown licence.")
    ] = False,
) -> None:
    """Download a public data set from its official address, check it and unpack it."""
    from dermlens.data.fetch import fetch as fetch_set

    folder = fetch_set(
        name, destination or Path("data") / name, accept_licence=accept_licence, console=console
    )
    console.print(f"{name} is in {folder}; `dermlens verify {folder}` says what is there")


@app.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    lesions: Annotated[int, typer.Option(min=56, help="How many lesions; some have several images.")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    width: Annotated[int, typer.Option(min=64, max=2048)] = 600,
    height: Annotated[int, typer.Option(min=64, max=2048)] = 450,
) -> None:
    """Draw a synthetic data set in HAM10000's layout: no patient, no licence, for trying things out."""
    from dermlens.data.synthetic import write_synthetic

    console.print(f"written: {write_synthetic(folder, lesions=lesions, seed=seed, size=(height, width))}")


@app.command()
def split(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write.")] = Path(
        "split.csv"
    ),
    protocol: Annotated[Literal["paper", "grouped", "singletons"], typer.Option()] = "grouped",
    holdout: Annotated[float, typer.Option(help="Share held out under paper and singletons.")] = 0.10,
    selection: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.10,
    calibration: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.10,
    test: Annotated[float, typer.Option(help="Share of lesions, under grouped.")] = 0.15,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds of all but the test lesions.")] = None,
    seed: int = 0,
    column: Columns = None,
    label: Labels = None,
    classes: Classes = None,
) -> None:
    """Write a split manifest: which image plays which role, under a stated protocol."""
    from pydantic import ValidationError

    from dermlens.console import frame_table
    from dermlens.data.config import SplitConfig
    from dermlens.data.leak import leak
    from dermlens.data.split import make_split
    from dermlens.data.table import read_table

    shares = {"holdout": holdout, "selection": selection, "calibration": calibration, "test": test}
    settings = {"protocol": protocol, "folds": folds, "seed": seed, **shares}
    try:
        config = SplitConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]} {first['input']}" if first["loc"] else "split"
        raise UserError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from error
    table = read_table(
        data,
        columns=_pairs(column, "--column"),
        labels=_pairs(label, "--label"),
        classes=_names(classes),
        check_files=False,
    )
    made = make_split(table, config)
    made.save(output)
    console.print(frame_table(made.summary(table), f"{made.protocol}: images and lesions by role"))
    console.print(leak(made, table).sentence())
    console.print(f"written: {output}")


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects instead of a table.")] = False,
) -> None:
    """List every backbone and cut: shapes, parameters, the published counts and the differences."""
    from dermlens.models.summary import render_table, summarise_models

    rows = summarise_models()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        console.print(render_table(rows))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one, defaults written out.")] = None,
) -> None:
    """List the recipes that come with dermlens, or print one."""
    from dermlens.recipe import load_recipe, shipped_recipes

    if name is not None:
        print(load_recipe(name).dump(), end="")
        return
    for known, text in shipped_recipes().items():
        console.print(f"{known}: {text.splitlines()[0].removeprefix('#').strip()}")


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's file or name; see `dermlens recipes`.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="Folder with the images and labels.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run directory to make.")] = None,
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
        run = resume_fit(resume, data=data, device=device, devices=devices, cache=cache, logger=logger)
    else:
        if recipe is None or data is None:
            raise UserError("name a recipe and its data: dermlens train RECIPE --data DIR (or --resume RUN)")
        loaded = load_recipe(recipe, overrides or ())
        folder = out or _fresh(Path("runs"), loaded.name)
        run = fit(loaded, data, out=folder, device=device, devices=devices, cache=cache, logger=logger)
    console.print(f"trained: {run.path}; next: dermlens evaluate {run.path}")


@app.command()
def evaluate(
    run: RunFolder,
    data: OptionalData = None,
    open_test: Annotated[
        bool, typer.Option("--open-test", help="Score the test role, and enter it in the ledger.")
    ] = False,
    ledger: Annotated[Path, typer.Option(help="Where an opened test is entered.")] = Path(
        "docs/results/test_ledger.csv"
    ),
    column: Columns = None,
    label: Labels = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Score a run on its own roles, or on any labelled set."""
    from dermlens.evaluation.evaluate import evaluate_run
    from dermlens.evaluation.tables import render_metrics
    from dermlens.runs import Run

    metrics = evaluate_run(
        Run.open(run),
        data=data,
        open_test=open_test,
        ledger=ledger,
        columns=_pairs(column, "--column"),
        labels=_pairs(label, "--label"),
        device=device,
        cache=cache,
    )
    console.print(render_metrics(metrics))


@app.command()
def report(run: RunFolder, data: OptionalData = None) -> None:
    """Write the report page and the model card of an evaluated run."""
    from dermlens.evaluation.report.page import what_the_numbers_mean, write_report
    from dermlens.runs import Run

    opened = Run.open(run)
    page = write_report(opened, data=data)
    for said in what_the_numbers_mean(opened):
        console.print(f"- {said}")
    console.print(f"report: {page}")


@app.command()
def publish(
    run: RunFolder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
) -> None:
    """Copy what can be published of a run: no weights, no pictures, predictions compressed."""
    from dermlens.evaluation.publish import publish_run
    from dermlens.runs import Run

    publish_run(Run.open(run), folder)
    console.print(f"published: {folder}; `dermlens evaluate {folder}` computes its metrics anew")


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN…", help="The first is what the others are compared with.")
    ],
    figure: Annotated[
        Path | None, typer.Option(help="Also draw recall and F1 per class to this SVG or PNG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Put runs side by side, with paired intervals for the differences."""
    from dermlens.evaluation.comparison import compare_runs
    from dermlens.runs import Run

    compared = compare_runs([Run.open(path) for path in runs])
    if as_json:
        print(json.dumps(compared.to_json(), indent=2))
    else:
        console.print(compared.render())
    if figure is not None:
        from dermlens.evaluation.figures.bars import save_comparison

        save_comparison([Run.open(path) for path in runs], figure, compared.roles)
        console.print(f"figure: {figure}")
