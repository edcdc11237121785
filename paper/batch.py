"""Many runs: those that others need first, several at once, and a plan file for a cluster."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer
from joblib import Parallel, delayed  # type: ignore[import-untyped]

from dermlens.cli.app import Verbs
from dermlens.cli.options import names
from dermlens.errors import UserError
from dermlens.files import write_text


class AnyJob(Protocol):
    """What can be run alone: its id, and the ids of those that come first."""

    @property
    def id(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...


J = TypeVar("J", bound=AnyJob)


def run_all(
    jobs: Sequence[J],
    do: Callable[[J], None],
    is_done: Callable[[str], bool],
    *,
    processes: int = 1,
    say: Callable[[str], None] = print,
) -> list[J]:
    """Do every job that is not done, in order; one that fails is named, and the others go on.

    A run that another command trains at the same time is locked and fails here; what was stopped goes on
    from its last whole epoch when the same command is given again.

    Args:
        jobs: each after those that it needs; what needs one that is not done is left.
        do: does a job.
        is_done: whether nothing is left to do of a job, by its id.
        processes: how many jobs at once; joblib shares the cores among them.
        say: takes a line about how far the work is; with several processes it goes to each of them.

    Returns:
        The jobs that failed, and those that wait for what is not done.
    """
    groups: list[list[J]] = []
    for job in jobs:
        if not groups or {one.id for one in groups[-1]}.intersection(job.needs):
            groups.append([])
        groups[-1].append(job)
    left: list[J] = []
    with Parallel(n_jobs=processes) as parallel:
        for group in groups:
            ready = []
            for job in (job for job in group if not is_done(job.id)):
                lacking = next((name for name in job.needs if not is_done(name)), None)
                if lacking is None:
                    ready.append(job)
                else:
                    say(f"{job.id}: waits for {lacking}, which is not done")
                    left.append(job)
            ended = parallel(delayed(_ends_well)(do, job, say) for job in ready)
            left += [job for job, well in zip(ready, ended, strict=True) if not well]
    return left


def _ends_well(do: Callable[[J], None], job: J, say: Callable[[str], None]) -> bool:
    say(f"{job.id}: begun")
    began = time.monotonic()
    try:
        do(job)
    except (UserError, RuntimeError, MemoryError, OSError) as error:
        say(f"{job.id}: failed: {str(error) or type(error).__name__}")
        return False
    say(f"{job.id}: done in {(time.monotonic() - began) / 60:.1f} min")
    return True


def write_plan(path: Path, name: str, jobs: Iterable[AnyJob], words: Sequence[str]) -> None:
    """A plan file: a command a job, in order, for `sh`, `parallel` or the tasks of a cluster's array.

    Args:
        path: to write to.
        name: `paper` or `related`.
        jobs: to do; what needs another has a line below it.
        words: of the command line, but for the job.
    """
    begin = ["python", "-m", name, "run", *words, "--only"]
    write_text(path, "".join(f"{shlex.join([*begin, job.id])}\n" for job in jobs))


# What the commands of both studies have in common.


Ham10000 = Annotated[Path, typer.Option("--data", "-d", help="The folder of HAM10000.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The folder that is worked in.")]
WorkIn = Annotated[
    Path, typer.Option("--out", "-o", help="The folder to work in; one that is there goes on.")
]
Results = Annotated[Path, typer.Option(help="What is published of the study.")]
Only = Annotated[
    str | None,
    typer.Option(help="Runs, comma-separated, such as questions/base or garg-forest; published ones again."),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="A folder of ImageNet weights, <backbone>….safetensors; else the recipes' own."),
]
Processes = Annotated[int, typer.Option("--jobs", min=1, help="Runs at once.")]
PlanFile = Annotated[
    Path | None,
    typer.Option("--write", help="A file for the commands of what is to do, a line each; needs --data."),
]
PlanData = Annotated[Path | None, typer.Option("--data", "-d", help="The data folder for --write.")]


def program(name: str, about: str) -> typer.Typer:
    """The command line of a study."""
    return typer.Typer(
        name=f"python -m {name}",
        cls=Verbs,
        add_completion=False,
        help=about,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def chosen_names(only: str | None, name: str) -> tuple[str, ...] | None:
    """The names in `--only`; none for all. Raises: UserError: it names nothing."""
    if only is not None and not only.strip(","):
        raise UserError(f"--only names no run; leave it out for all, or see python -m {name} plan")
    return names(only)


def check_folder(out: Path | None) -> None:
    """Refuse a file in the place of a folder. Raises: UserError."""
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder to work in")


def command_words(data: Path | None, out: Path | None, weights: Path | None) -> list[str]:
    """The options of `run` for a plan file. Raises: UserError: data or folder are not named."""
    if data is None or out is None:
        raise UserError("--write needs --data and --out: they are part of every command")
    return ["--data", str(data), "--out", str(out), *(["--weights", str(weights)] if weights else [])]


def check_left(left: Sequence[AnyJob], of: int) -> None:
    """Say which runs failed or wait. Raises: UserError: some do."""
    if left:
        named = ", ".join(job.id for job in left[:3])
        raise UserError(f"{len(left)} of {of} runs are not done: {named}; the lines above say why")
