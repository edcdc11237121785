"""From a recipe and a data folder to a run directory, in one go or in several, by one process at a time."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from dermlens.errors import UserError
from dermlens.recipe import Recipe
from dermlens.runs import Run, taken_back
from dermlens.training import machine
from dermlens.training.callbacks import check_tracker
from dermlens.training.checkpoints import CHECKPOINT_FILE as CHECKPOINT
from dermlens.training.inputs import RolePlan, read_inputs, read_role_plan
from dermlens.training.machine import check_count, check_precision, resolve_device
from dermlens.training.train import Hardware, train


def fit(
    recipe: Recipe,
    data: Path,
    *,
    out: Path,
    device: str = "auto",
    devices: int = 1,
    cache: Path | None = None,
    logger: str = "csv",
    say: Callable[[str], None] = lambda _: None,
) -> Run:
    """Train a recipe.

    Args:
        recipe: the run.
        data: the data folder.
        out: the run directory to make; absent or empty.
        device: `auto`, `cpu`, `cuda` or `mps`.
        devices: processes, each with a device of its own; they share each batch.
        cache: where pixel caches are; none takes the default place.
        logger: `csv`, which is always written, or `tensorboard` or `mlflow` as well.
        say: takes sentences on which table was read, what was made of it, and what is wrong with the split.

    Returns:
        The completed run: model, history, predictions of its held-out roles but test.

    Raises:
        UserError: the table, the split or the machine does not allow it, and no run is made; or an image, the
            network or a full disk does not. Before the first epoch has begun no run directory stays, so that
            the corrected command may name it again; later it says `failed`.
        KeyboardInterrupt: with a sentence that says how to go on. The run directory says `interrupted`.
    """
    hardware = _hardware(recipe, device, devices)
    check_tracker(logger)
    # A run that cannot begin is none: faults of table and split are reported before there is a directory.
    images = read_role_plan(recipe, Path(data))
    if machine.is_first():
        _say_all(images, say)
    run = Run(out if machine.is_first() else machine.shared_folder(out))
    with (
        machine.held(run),  # before anything is made there or taken away: another command may name it too
        taken_back(run.path, lambda: not machine.is_first() or _has_begun(run)),
        _full_disk_reported(run),
    ):
        if machine.is_first():
            Run.create(out, recipe).record(data=str(Path(data).resolve()))
        return _run(run, recipe, images, hardware, cache, logger)


def resume_fit(
    folder: Path,
    *,
    data: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    cache: Path | None = None,
    logger: str = "csv",
    say: Callable[[str], None] = lambda _: None,
) -> Run:
    """Go on with a run that was stopped, from the end of its last whole epoch.

    On the machine where it began, with as many devices and threads, it ends with the same weights as if it
    had never been stopped.

    The arguments are those of `fit`; without `data` it takes the folder that the run began with.

    Raises:
        UserError: there is no such run, it is completed, another process trains it, or as for `fit`.
        KeyboardInterrupt: as for `fit`.
    """
    run = Run.open(folder, statuses=("running", "failed", "interrupted", "completed"))
    record = run.read_record()
    if record.status == "completed":
        raise UserError(
            f"run {folder} is completed: there is nothing to resume; `dermlens evaluate {folder}`"
        )
    if data is None and record.data is None:
        raise UserError(f"{run.record_file} does not say where the data are: name their folder with --data")
    recipe = run.recipe
    hardware = _hardware(recipe, device, devices)
    check_tracker(logger)
    with _full_disk_reported(run), machine.held(run):
        manifest = run.split_file if run.split_file.is_file() else None
        images = read_role_plan(recipe, data or Path(str(record.data)), manifest=manifest)
        if machine.is_first():
            _say_all(images, say)
            run.record(status="running", error=None)
        return _run(run, recipe, images, hardware, cache, logger)


def _say_all(images: RolePlan, say: Callable[[str], None]) -> None:
    for sentence in [*images.accounts, *images.warnings]:
        say(sentence)


def _hardware(recipe: Recipe, device: str, devices: int) -> Hardware:
    """Refuse what the machine cannot do before anything is written."""
    resolved = resolve_device(device)
    check_count(resolved, devices)
    check_precision(recipe.train.precision, resolved)
    if recipe.train.batch_size % devices:
        raise UserError(
            f"--devices {devices} cannot share train.batch_size {recipe.train.batch_size} evenly;"
            f" {devices * (recipe.train.batch_size // devices + 1)} would do"
        )
    return Hardware(resolved, devices)


def _run(
    run: Run, recipe: Recipe, images: RolePlan, hardware: Hardware, cache: Path | None, logger: str
) -> Run:
    """Read the pixels and train, and whatever happens say in run.json how it ended."""
    machine.share_folder(run.path)
    try:
        with _ended_like_ctrl_c(), _full_disk_reported(run):
            inputs = read_inputs(recipe, images, cache_root=cache)
            facts = train(run, recipe, inputs, hardware, logger)
    except KeyboardInterrupt as error:
        _end(run, "interrupted")
        raise KeyboardInterrupt(f"{run.path} was interrupted{_how_to_go_on(run)}") from error
    except UserError as error:
        _end(run, "failed", error=str(error))
        raise
    except Exception as error:
        _end(run, "failed", error=f"{type(error).__name__}: {error}")
        raise
    machine.end_others()
    run.end("completed", **facts)
    return run


def _end(run: Run, status: str, **facts: str) -> None:
    """Record an end, where there is room to; without it stays `running`, which nobody takes for whole."""
    if machine.is_first():
        with suppress(OSError):
            run.end(status, **facts)  # type: ignore[arg-type]


def _how_to_go_on(run: Run) -> str:
    """What to do with a run that stopped."""
    if (run.checkpoints / CHECKPOINT).is_file():
        return f"; go on from its last whole epoch with `dermlens train --resume {run.path}`"
    return f" before its first epoch was whole; begin again with `dermlens train --resume {run.path}`"


def _has_begun(run: Run) -> bool:
    """Whether the first epoch of a run has begun, so that there is something to keep."""
    try:
        return run.read_record().began_with is not None
    except (OSError, UserError):
        return False


@contextmanager
def _full_disk_reported(run: Run) -> Iterator[None]:
    """Report a full disk in one sentence; checkpoints report it themselves."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(
            f"{run.path}: {error.strerror}, while writing {error.filename or 'there'}: make room"
            f"{_how_to_go_on(run) if _has_begun(run) else ', and give the same command again'}"
        ) from error


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, as a batch system sends it, ends a run like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
