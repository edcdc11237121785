"""Networks that answer: an ONNX file under ONNX Runtime, pixels and metadata in, logits and features out."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dermlens.errors import UserError
from dermlens.predict.pictures.preprocessing import Numbers, Pixels

# How many cores this process may use: those it is bound to, as far as a container's quota goes.
#
# Python counts the cores of the machine, or those that the process may run on; a quota of CPU time, which is
# how containers are limited, it does not see. As many threads as the machine has cores then wait for each
# other.
#
# Source: Linux, Documentation/admin-guide/cgroup-v2 (cpu.max) and scheduler/sched-bwc (version 1).


CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """At least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def cpu_quota(root: Path = CGROUPS, own: Path = OWN) -> float | None:
    """Cores' worth of CPU time that this process's control groups may use together; none without a limit.

    Args:
        root: where the control groups are mounted.
        own: the file that says which of them this process is in.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    quotas = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        for group in (Path(path), *Path(path).parents):
            inside = str(group).lstrip("/")
            if controllers == "":
                quotas.append(_quota(root / inside / "cpu.max"))
            elif "cpu" in controllers.split(","):
                quotas += [_quota_v1(root / name / inside) for name in (controllers, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(file: Path) -> float | None:
    """Of version 2: `max 100000`, or microseconds in a period of them."""
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        return quota / int((group / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


# ONNX Runtime, which is imported here and nowhere else, because something has to be done before.
#
# From version 1.29 on it writes a device's id and a data base of events into the home folder, and sends them
# to its makers, unless `ORT_DISABLE_TELEMETRY` is set when it is loaded.


def onnx_runtime(part: str = "") -> Any:
    """The module `onnxruntime`, or a part of it such as `quantization`, without its telemetry."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module(f"onnxruntime.{part}" if part else "onnxruntime")


# What an opened file of any engine is. Free of torch, as opening one is for all engines but torch's own.
#
# Shapes: B images, S side of the square, C classes, M metadata width, D features.


Network = Callable[[Pixels, npt.NDArray[np.float32] | None], tuple[Numbers, Numbers]]
"""logits_BC and features_BD of x_BSSC and meta_BM, which files without a metadata branch do not look at."""


# Shapes: B batch, S side of the square, C classes, M metadata width, D features.


ONNX_FILE = "model.onnx"
IMAGE, META = "image", "meta"
LOGITS, FEATURES = "logits", "features"
PROBABILITIES, EVIDENCE, ATTENTION = "probabilities", "evidence", "attention"
_EXTERNAL = b"location"
"""In every ONNX file that keeps tensors in others, as a key of TensorProto.external_data; in none of ours."""
SERIOUS = 3
"""ONNX Runtime's level of errors; below it, it speaks of its own optimisations."""


def open_session(content: bytes, name: str, threads: int | None = None) -> Any:
    """A session of ONNX Runtime on the processor, which threads may share.

    Args:
        content: of the file, with all tensors inside: ONNX Runtime would read external ones from wherever the
            process works, outside every check sum.
        name: of the file, for errors.
        threads: that one call uses; none for as many as the process has cores, by its container's quota too.

    Raises:
        UserError: it is no ONNX network, or keeps data in other files.
    """
    if _EXTERNAL in content:
        raise UserError(
            f"{name} keeps data in other files, which no check sum covers: export it again, with all of"
            " them in itself"
        )
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SERIOUS
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # set, not left at 0: the runtime would pin threads to cores, which a container may forbid
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # what the runtime raises has no common class but this
        raise UserError(f"{name} is not an ONNX network that can be run: {first_line(error)}") from error


class OnnxNetwork:
    """A session that threads may share: it holds no state between calls. One call uses all cores it may.

    Attributes:
        classes: how many logits it gives, C.
        features: how many numbers it has of an image, D.
        meta_width: how long its metadata are, M; 0 where it takes none.
        outputs: the names of what it can give.

    Args:
        content, name, threads: as `open_session` takes them.

    Raises:
        UserError: it is no ONNX network of ours, or keeps data in other files.
    """

    def __init__(self, content: bytes, name: str, threads: int | None = None) -> None:
        self.name = name
        self._session = open_session(content, name, threads)
        entries = (*self._session.get_inputs(), *self._session.get_outputs())
        shapes = {entry.name: entry.shape for entry in entries}
        self.outputs = tuple(entry.name for entry in self._session.get_outputs())
        if not {IMAGE, LOGITS, FEATURES} <= set(shapes):
            raise UserError(f"{name} is not an ONNX network that `dermlens export` wrote")
        self.takes_metadata = META in shapes
        self.classes: int = shapes[LOGITS][-1]
        self.features: int = shapes[FEATURES][-1]
        self.meta_width: int = shapes[META][-1] if self.takes_metadata else 0

    def __call__(self, x_BSSC: Pixels, meta_BM: npt.NDArray[np.float32] | None) -> tuple[Numbers, Numbers]:
        """logits_BC and features_BD, float32, of images; as `run`."""
        found = self.run(x_BSSC, meta_BM, (LOGITS, FEATURES))
        return found[LOGITS], found[FEATURES]

    def run(
        self, x_BSSC: Pixels, meta_BM: npt.NDArray[np.float32] | None, names: Sequence[str]
    ) -> dict[str, Numbers]:
        """Run the network.

        Args:
            x_BSSC: uint8 RGB squares.
            meta_BM: encoded metadata; networks without a branch for it do not look at it.
            names: which of `outputs`.

        Returns:
            float32 arrays by name, of the shapes that `dermlens.export.onnx_export.export_onnx` states.

        Raises:
            UserError: the network does not take images of this size.
        """
        feed = {IMAGE: x_BSSC} | ({META: meta_BM} if self.takes_metadata else {})
        try:
            return dict(zip(names, self._session.run(list(names), feed), strict=True))
        except Exception as error:
            size = x_BSSC.shape[1]
            raise UserError(
                f"{self.name} does not take images of {size} pixels: {first_line(error)}"
            ) from error


def first_line(error: Exception) -> str:
    """The beginning of what the runtime says."""
    return str(error).strip().partition("\n")[0][:200]
