"""The machine: which processor trains, several processes of one run, and memory that they keep."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypedDict, get_args

import torch
from lightning.pytorch.utilities import rank_zero_only

from dermlens.errors import UserError, nearest
from dermlens.files import claimed
from dermlens.runs import Run

Device = Literal["cpu", "cuda", "mps"]


class Where(TypedDict, total=False):
    """Where networks compute, and where pixels are kept.

    Attributes:
        device: `auto`, the best there is and what is taken where none is named, `cpu`, `cuda` or `mps`.
        cache: root of the pixel caches; none takes the default place.
    """

    device: str
    cache: Path | None


def resolve_device(name: str) -> Device:
    """The device behind a `--device`.

    Args:
        name: `auto` takes the best there is; `cpu`, `cuda` or `mps`.

    Raises:
        UserError: no such device, or not on this machine.
    """
    there: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, is_there in there.items() if is_there)
    for device in get_args(Device):
        if name == device:
            if not there[device]:
                found = ", ".join(known for known, is_there in there.items() if is_there)
                raise UserError(f"--device {name}: PyTorch finds no such device here; it finds: {found}")
            return device  # type: ignore[no-any-return]
    raise UserError(f"--device {name} is not known{nearest(name, ['auto', *there])}")


def check_count(device: Device, devices: int) -> None:
    """Refuse more devices than there are; a CPU runs as many processes as one likes.

    Raises:
        UserError: there are fewer.
    """
    there = {"cpu": devices, "cuda": torch.cuda.device_count(), "mps": 1}[device]
    if devices > there:
        raise UserError(f"--devices {devices}: this machine has {there} of kind {device}")


def check_precision(precision: str, device: Device) -> None:
    """Refuse a precision that the hardware would only emulate, many times slower, or not at all.

    Args:
        precision: `train.precision` of a recipe.
        device: where it shall train.

    Raises:
        UserError: the device lacks it.
    """
    if precision == "32-true":
        return
    if device == "cuda":
        lacking = precision == "bf16-mixed" and not torch.cuda.is_bf16_supported(including_emulation=False)
        needs = "bfloat16 arithmetic, from NVIDIA's Ampere on; 16-mixed runs on this GPU"
    elif device == "cpu":
        lacking = precision == "16-mixed" or not _cpu_has_bf16()
        needs = "a GPU" if precision == "16-mixed" else "a processor with AVX512-BF16 or AMX"
    else:
        lacking, needs = True, "CUDA, or a CPU with bfloat16 for bf16-mixed"
    if lacking:
        raise UserError(f"train.precision {precision} on {device} needs {needs}; 32-true runs everywhere")


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware."""
    abilities = torch.cpu.get_capabilities()
    return any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


# Lightning starts the others by running the same command again, so that each comes through `fit` once more;
# a command that chose a new folder's name would choose another. The first process leaves the name for them.


LOCK = ".lock"
"""Name of the lock file in the run directory."""

_FOLDER = "DERMLENS_RUN_FOLDER"


def is_first() -> bool:
    """Whether this is the process that writes; the only one, mostly."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def share_folder(folder: Path) -> None:
    """Tell the processes that will be started where the run is."""
    if is_first():
        os.environ[_FOLDER] = str(folder.resolve())


def shared_folder(named: Path) -> Path:
    """The folder that the first process uses, whatever this one's command says."""
    return Path(os.environ.get(_FOLDER, named))


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Hold a run's lock: a second command that trains it would write over what the first does.

    Of a distributed run the first process holds it for all.

    Args:
        run: its directory exists.

    Raises:
        UserError: another command holds it, or the run's file system has no locks.
    """
    if not is_first():
        yield
        return
    with claimed(run.path / LOCK) as ours:
        if not ours:
            raise UserError(
                f"run {run.path} is being trained by another process: wait for it, or stop it, then --resume"
            )
        yield


def end_others() -> None:
    """Training is over: only the first process has more to do."""
    if not is_first():
        sys.exit(0)


# Memory that stays with the process between the steps of a training, and the batches of a prediction.
#
# A step allocates and frees some hundred megabytes of activations. The C library of Linux gives blocks of
# that size back to the system at once and asks for them anew, and the system clears each page again: a third
# to a half of the time of a step (docs/results/kept_memory.md).


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h
_LARGEST_INT = 2**31 - 1


def keep_memory() -> bool:
    """Ask glibc to keep freed memory for the next step instead of returning it.

    Returns:
        Whether it will; elsewhere than under glibc there is nothing to ask.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _LARGEST_INT))
