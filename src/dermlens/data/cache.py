"""The pixel cache: every image decoded, cropped and resized once, in a file that is mapped into memory.

Shapes: N images of the table, B images asked for, S side of the square, C channels (3; 1 for masks).

One file holds one table at one size, crop and colour constancy. Its name is a hash of everything that decides
the pixels, so a changed file or setting makes a new cache, and a file that is there under its name is whole:
it was renamed from a temporary name after its last byte. A JSON file next to it holds the check sum of every
image, which is compared each time the image is read: a disk that returns other bits trains no other model.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import shutil
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn

import numpy as np
import pandas as pd
import torch

from dermlens.errors import UserError
from dermlens.files import atomic_path, exclusive, read_json, write_json
from dermlens.predict.network import usable_cores
from dermlens.predict.pictures.preprocessing import (
    ColourConstancy,
    Crop,
    constant_colours,
    crop_window,
    read_image,
)
from dermlens.predict.sources.folders import begins_as_dicom

VERSION = 1  # of the pixels: raise it when the same file would give others
DICOM_VERSION = 2  # of DICOM files' pixels: 2 converts by the header's profile, and reads RGB frames as such
SUMS = "crc32"  # of every row, in the JSON file
CHUNK = 32 * 2**20  # bytes of pixels in memory while building

What = Literal["image", "mask"]
Progress = Callable[[int, int], None]
Fill = Callable[[np.ndarray, "File | None"], None]


class File(NamedTuple):
    """A file of pixels.

    Attributes:
        path: where it is.
        aspect: width over height of the scene, where the file is squashed; none where it is in proportion.
    """

    path: Path
    aspect: float | None


@dataclass(frozen=True)
class PixelCache:
    """Pixels of a table, row by row.

    Attributes:
        path: the file.
        index: row of each image id; row i belongs to row i of the table.
        present: bool (N,), false where the table names no mask and the row is all zeros.
        pixels: uint8 (N, S, S, C), mapped from the file, read-only.
    """

    path: Path
    index: dict[str, int]
    present: np.ndarray
    pixels: np.ndarray = field(init=False, repr=False, compare=False)
    _sums: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _mapped(self.path))
        object.__setattr__(self, "_sums", _sums_beside(self.path))

    def take(self, rows_B: np.ndarray) -> np.ndarray:
        """Copy rows out, without letting the process grow by what it has read.

        Args:
            rows_B: rows, in any order.

        Returns:
            uint8 (B, S, S, C), writable.

        Raises:
            UserError: an image's bytes are not those that were written.
        """
        taken = np.asarray(self.pixels[rows_B])
        for row, pixels_SSC in zip(np.asarray(rows_B).tolist(), taken, strict=True):
            if zlib.crc32(pixels_SSC) != self._sums[row]:
                self._refuse(row)
        # Pages that were touched count as the process's own memory until they are let go: after an epoch,
        # the whole file. They stay in the system's cache.
        mapping: object = self.pixels.base
        if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)
        return taken

    def sha256(self) -> str:
        """SHA-256 of all images' check sums, in the order of the table: other pixels have another one."""
        return hashlib.sha256(json.dumps(self._sums).encode()).hexdigest()

    def _refuse(self, row: int) -> NoReturn:
        image_id = next(name for name, one in self.index.items() if one == row % len(self.index))
        with suppress(OSError):  # without its check sums the next command takes it for none
            self.path.with_suffix(".json").unlink()
        raise UserError(
            f"{self.path}: the pixels of image {image_id} have changed on the disk since they were written;"
            " the same command builds this cache anew; do not trust what was trained from it meanwhile"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes map the file again; an array of its pixels would be pickled whole."""
        return PixelCache, (self.path, self.index, self.present)


def open_cache(
    table: pd.DataFrame,
    *,
    size: int,
    crop: Crop,
    colour_constancy: ColourConstancy = "none",
    root: Path | None = None,
    what: What = "image",
    progress: Progress | None = None,
) -> PixelCache:
    """The cache of a table, built where it is not there yet.

    Processes may ask for the same cache at once: one builds, the others wait and then read. A process that is
    stopped while it builds leaves nothing that could be taken for whole.

    Args:
        table: a LesionTable; `path`, and for masks `mask`, name the files, and `aspect` says which are
            squashed.
        size: side of the square in pixels.
        crop: `center` or `squash`.
        colour_constancy: `none` or `shades_of_gray`; masks have no colours, and no use for it.
        root: folder of the caches; none takes `DERMLENS_CACHE`, or `~/.cache/dermlens`.
        what: `image`, or `mask` for the lesion masks: one channel, 0 outside to 255 inside.
        progress: called with the images done and their total, now and then, while building.

    Returns:
        The cache, with rows in the order of the table.

    Raises:
        UserError: an image is missing or cannot be decoded, the folder cannot be written, or the
            disk is full.
    """
    root = cache_root() if root is None else root
    files = _files(table, what)
    ids = [str(image_id) for image_id in table["image_id"]]
    if not ids:
        raise ValueError("a table without rows has no pixels to cache")
    shape = (len(ids), size, size, 3 if what == "image" else 1)
    about: dict[str, Any] = {"version": VERSION, "what": what, "size": size, "crop": crop, "images": len(ids)}
    if what == "image" and colour_constancy != "none":  # a cache that says nothing of it has none
        about["colour_constancy"] = colour_constancy
    key = _key(about, ids, files)
    path = root / f"{what}-{size}-{crop}-{key}.npy"
    if not _is_whole(path, shape):
        try:
            with exclusive(path):
                if not _is_whole(path, shape):
                    fill = partial(_fill, crop=crop, colour_constancy=colour_constancy)
                    sums = _build(path, shape, files, fill, progress)
                    write_json(path.with_suffix(".json"), about | {SUMS: sums})
        except OSError as error:
            raise UserError(
                f"{root}: the pixel cache cannot be written there ({error.strerror}); it needs "
                f"{_megabytes(shape)} MB, and DERMLENS_CACHE names another folder"
            ) from error
    present = np.array([file is not None for file in files])
    return PixelCache(path, {image_id: row for row, image_id in enumerate(ids)}, present)


def _files(table: pd.DataFrame, what: What) -> list[File | None]:
    paths = table["path" if what == "image" else "mask"]
    aspects = table["aspect"] if "aspect" in table else [math.nan] * len(table)
    return [
        None if pd.isna(path) else File(Path(path), None if math.isnan(aspect) else float(aspect))
        for path, aspect in zip(paths, aspects, strict=True)
    ]


def cache_root() -> Path:
    """Where caches are unless a command says otherwise: `$DERMLENS_CACHE`, or `~/.cache/dermlens`.

    Raises:
        UserError: there is neither.
    """
    named = os.environ.get("DERMLENS_CACHE")
    try:
        return Path(named) if named else Path.home() / ".cache" / "dermlens"
    except RuntimeError as error:  # no HOME, and a user without one
        raise UserError("there is no home folder for pixel caches: name one in DERMLENS_CACHE") from error


def _megabytes(shape: tuple[int, ...]) -> int:
    return -(-int(np.prod(shape)) // 10**6)


def _key(about: dict[str, Any], ids: list[str], files: list[File | None]) -> str:
    """Hash of what decides the pixels; a file counts as the same by its name, length and time of change."""
    digest = hashlib.sha256(json.dumps(about).encode())
    for image_id, file in zip(ids, files, strict=True):
        entry: list[Any] = [image_id]
        if file is not None:
            try:
                stat = file.path.stat()
            except OSError as error:
                raise UserError(
                    f"{file.path}: the file of {image_id} cannot be read ({error.strerror})"
                ) from error
            entry += [file.path.name, stat.st_size, stat.st_mtime_ns]
            if begins_as_dicom(file.path):
                entry.append(f"dicom {DICOM_VERSION}")
            if file.aspect is not None:  # a cache that says nothing of it has files in proportion
                entry.append(file.aspect)
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()[:16]


def _mapped(path: Path) -> np.ndarray:
    pixels: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return pixels


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file is there with all its bytes and check sums; one that was cut short is built anew."""
    try:
        return _mapped(path).shape == shape and len(_sums_beside(path)) == shape[0]
    except (OSError, ValueError, UserError):
        return False


def _sums_beside(path: Path) -> list[int]:
    """The CRC-32 of each row. Raises: UserError where there are none; OSError."""
    sums = read_json(path.with_suffix(".json")).get(SUMS)
    if not isinstance(sums, list):
        raise UserError(f"{path.with_suffix('.json')} has no check sums: delete {path} to build it anew")
    return sums


def _build(
    path: Path, shape: tuple[int, ...], files: list[File | None], fill: Fill, progress: Progress | None
) -> list[int]:
    """Decode on all cores, a chunk at a time, and append: memory does not grow with the table.

    Returns:
        The CRC-32 of each row.
    """
    path.unlink(missing_ok=True)  # what is there is none of use, and takes room
    sums: list[int] = []
    needed, free = _megabytes(shape), shutil.disk_usage(path.parent).free // 10**6
    if free < needed:
        raise UserError(
            f"{path.parent}: the pixel cache needs {needed} MB and {free} are free; make room, or name"
            " another folder in DERMLENS_CACHE"
        )
    at_once = min(max(1, CHUNK // int(np.prod(shape[1:]))), len(files))
    chunk = np.zeros((at_once, *shape[1:]), np.uint8)
    with ThreadPoolExecutor(usable_cores()) as pool, atomic_path(path) as part, part.open("wb") as file:
        _write_header(file, shape)
        for start in range(0, len(files), at_once):
            stop = min(start + at_once, len(files))
            rows = chunk[: stop - start]
            # The list waits for every row and raises the first error.
            list(pool.map(fill, rows, files[start:stop]))
            file.write(rows.data)
            sums += map(zlib.crc32, rows)
            if progress is not None:
                progress(stop, len(files))
    return sums


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _fill(row_SSC: np.ndarray, source: File | None, *, crop: Crop, colour_constancy: ColourConstancy) -> None:
    """Decode one file into its row; zeros where there is none.

    The resize is torch's, five times as fast as Pillow's on a CPU with AVX2. The two agree to two of 255
    levels at the most, and to 0.1 on average (tests/data/test_cache.py).
    """
    if source is None:
        row_SSC[:] = 0
        return
    size, _, channels = row_SSC.shape
    image_HWC = read_image(source.path, min_side=size)
    if channels == 1:
        # Masks come as 0 and 255, or 0 and 1, some with the noise of a JPEG.
        lesion_HW = image_HWC[..., :1] > image_HWC.max() // 2
        image_HWC = lesion_HW.astype(np.uint8) * 255
    window = np.ascontiguousarray(crop_window(image_HWC, crop, source.aspect))
    x_1CHW = torch.from_numpy(window).permute(2, 0, 1)[None]
    out_1CSS = torch.from_numpy(row_SSC).permute(2, 0, 1)[None]
    # `interpolate` under its inner name, which can write into memory that is there: that halves the time.
    torch.ops.aten._upsample_bilinear2d_aa.out(x_1CHW, [size, size], False, out=out_1CSS)
    if channels == 3 and colour_constancy != "none":
        row_SSC[:] = constant_colours(row_SSC, colour_constancy)
