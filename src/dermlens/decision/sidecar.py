"""decision.npz: the arrays of an out-of-distribution score; model.json beside it holds its check sum."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermlens.atomic import atomic_path
from dermlens.decision.document import DecisionDocument
from dermlens.decision.ood import NAMES, Arrays
from dermlens.errors import UserError

DECISION_FILE = "decision.npz"


def pack_arrays(arrays: Arrays) -> bytes:
    """The content of decision.npz; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in NAMES:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:  # without the time of writing
                np.lib.format.write_array(file, np.asarray(arrays[name], np.float32), allow_pickle=False)
    return buffer.getvalue()


def arrays_sha256(arrays: Arrays) -> str:
    """SHA-256 of decision.npz."""
    return hashlib.sha256(pack_arrays(arrays)).hexdigest()


def write_arrays(folder: Path, arrays: Arrays) -> None:
    """Write decision.npz, or take an old one away where there are no arrays."""
    path = folder / DECISION_FILE
    if not arrays:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as part:
        part.write_bytes(pack_arrays(arrays))


def read_arrays(folder: Path, document: DecisionDocument | None) -> dict[str, NDArray[np.float32]]:
    """Read the arrays that a decision needs; none where it needs none.

    Args:
        folder: with model.json.
        document: the decision in it.

    Raises:
        UserError: the file is absent, is not the one that the document was written for, or holds other
            arrays than these.
    """
    if document is None or document.ood is None or document.ood.sha256 is None:
        return {}
    path = folder / DECISION_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist; the decision in model.json beside it needs it")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != document.ood.sha256:
        raise UserError(f"{path} is not the file that model.json beside it was written for")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays = {name: np.asarray(found[name], dtype=np.float32) for name in NAMES}
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} does not hold the arrays {', '.join(NAMES)}: {error}") from error
    if not _fit(arrays, document.ood.neighbours or 1):
        raise UserError(f"{path}: the arrays {', '.join(NAMES)} do not fit each other")
    return arrays


def _fit(arrays: Arrays, neighbours: int) -> bool:
    """Whether the shapes are (D,), (D, K) and (M, K), all finite, with enough points."""
    center, directions, points = (arrays[name] for name in NAMES)
    return bool(
        center.ndim == 1
        and directions.ndim == points.ndim == 2
        and directions.shape == (center.shape[0], points.shape[1])
        and len(points) >= neighbours
        and all(np.isfinite(arrays[name]).all() for name in NAMES)
    )
