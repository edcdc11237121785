"""Kill trainings at chosen moments and resume them; test_resume.py starts this and reads what is left.

One process imports everything once; each training runs in a fork of it, where a kill is a kill.

Usage: killed_runs.py RECIPE DATA FOLDER MOMENT...
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from dermlens.recipe import load_recipe
from dermlens.training import train as train_module
from dermlens.training.fit import fit, resume_fit
from dermlens.training.task import LesionTask

RECIPE, DATA, FOLDER = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
WHERE = {"device": "cpu", "cache": FOLDER / "cache"}


def in_step(epoch: int, step: int, number: int) -> Callable[[], None]:
    """A signal in the middle of a training step."""

    def arm() -> None:
        whole = LesionTask.training_step

        def training_step(self, batch, batch_idx):
            if (self.current_epoch, batch_idx) == (epoch, step):
                os.kill(os.getpid(), number)
            return whole(self, batch, batch_idx)

        LesionTask.training_step = training_step

    return arm


def in_validation() -> None:
    def validation_step(self, batch, batch_idx):
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, batch, batch_idx)

    whole = LesionTask.validation_step
    LesionTask.validation_step = validation_step


def in_checkpoint() -> None:
    """Half of the second checkpoint is on disk when the power goes."""
    whole, calls = torch.save, []

    def save(value, path):
        whole(value, path)
        calls.append(path)
        if len(calls) == 2:
            os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


def before_the_end() -> None:
    """All epochs are done; model and predictions are not written."""

    def write(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    train_module._write = write


MOMENTS = {
    "first_epoch": in_step(0, 1, signal.SIGKILL),
    "second_epoch": in_step(1, 2, signal.SIGKILL),
    "validation": in_validation,
    "checkpoint": in_checkpoint,
    "before_the_end": before_the_end,
    "ctrl_c": in_step(1, 0, signal.SIGINT),
    "polite_kill": in_step(2, 1, signal.SIGTERM),
}


def forked(work: Callable[[], None]) -> int:
    """Run in a child; what `waitpid` says of its end."""
    child = os.fork()
    if child == 0:
        # A shell starts what it puts in the background deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            work()
            code = 0
        except KeyboardInterrupt as error:
            (FOLDER / "interrupted.txt").write_text(str(error))
            code = 130
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(out: Path, arm: Callable[[], None] | None = None) -> None:
    if arm is not None:
        arm()
    fit(load_recipe(RECIPE), DATA, out=out, **WHERE)


def main() -> None:
    ends = {"uninterrupted": forked(lambda: train(FOLDER / "uninterrupted"))}
    for name in sys.argv[4:]:
        arm = MOMENTS[name]
        out = FOLDER / name
        killed = forked(lambda out=out, arm=arm: train(out, arm))
        sentence = FOLDER / "interrupted.txt"
        ends[name] = {
            "killed": killed,
            "status": json.loads((out / "run.json").read_text())["status"],
            "left": sorted(file.name for file in out.iterdir()),
            "sentence": sentence.read_text() if sentence.is_file() else None,
            "resumed": forked(lambda out=out: resume_fit(out, **WHERE)),
        }
        sentence.unlink(missing_ok=True)
    (FOLDER / "ends.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    main()
