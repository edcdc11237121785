"""A picture, whatever it comes as: decoded once for each size, with what it knows of its patient.

Shapes: H height, W width, S side of the square.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

import numpy as np
from PIL import Image

from dermlens.predict.patients import Patient
from dermlens.predict.pictures.dicom import dicom_patient, is_dicom
from dermlens.predict.pictures.images import MAX_BYTES, ImageError, from_pillow
from dermlens.predict.pictures.preprocessing import (
    SIDE,
    ColourConstancy,
    Crop,
    constant_colours,
    crop_resize,
    faults,
    image_size,
    read_image,
)
from dermlens.predict.sources.folders import image_id_of

if TYPE_CHECKING:
    from dermlens.predict.document import ModelDocument


Source = os.PathLike[str] | str | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray
"""A file by its path or opened in binary mode, its bytes, a picture of Pillow, or uint8 RGB (H, W, 3)."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model needs of a picture.

    Attributes:
        sizes: sides of its squares.
        crop: as `crop_resize` takes it.
        colour_constancy: as `constant_colours` takes it.
    """

    sizes: tuple[int, ...]
    crop: Crop
    colour_constancy: ColourConstancy

    @classmethod
    def of(cls, document: ModelDocument) -> Self:
        """Those of a model."""
        sizes = dict.fromkeys((document.size, *document.views.sizes))
        return cls(tuple(sizes), document.crop, document.colour_constancy)

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """As `to_json` writes it."""
        return cls(tuple(content["sizes"]), content["crop"], content["colour_constancy"])


class Picture:
    """A picture that has not been decoded yet, or is an array already.

    Args:
        source: what it comes as; a string is a path.
        max_pixels: more are refused; none for the decoder's own limit.

    Attributes:
        image_id: the file's name without its suffix; empty for what came without a name.

    Raises:
        ImageError: an opened file gives no bytes, or a path is empty.
    """

    def __init__(self, source: Source, max_pixels: int | None = None) -> None:
        self._source = _held(source)
        self.image_id = image_id_of(self._source.name) if isinstance(self._source, Path) else ""
        self._max_pixels = max_pixels
        self._decoded: dict[int, np.ndarray] = {}
        self._squares: dict[int, np.ndarray] = {}
        self._measured: np.ndarray | None = None
        self._faults: tuple[str, ...] | None = None
        self._header: tuple[float | None, str | None] | None = None

    def pixels(self, min_side: int) -> np.ndarray:
        """uint8 (H, W, 3); JPEGs at the smallest scale that keeps so many pixels on the short side.

        Raises:
            ImageError: it cannot or must not be decoded, or an array is none of a picture.
        """
        if min_side not in self._decoded:
            self._decoded[min_side] = self._decode(min_side)
        return self._decoded[min_side]

    def own_size(self) -> tuple[int, int]:
        """Height and width in pixels, upright, however small it is decoded. Raises: ImageError."""
        if isinstance(self._source, (Path, bytes)):
            wide, high = image_size(self._source)
            return high, wide
        high, wide = self.pixels(SIDE).shape[:2]
        return high, wide

    def square(self, size: int, crop: Crop, colour_constancy: ColourConstancy) -> np.ndarray:
        """uint8 (S, S, 3), as `read_square` makes it. Raises: ImageError."""
        if size not in self._squares:
            square = crop_resize(self.pixels(size), size, crop)
            if (size, crop) == (SIDE, "center"):
                self._measured = square
            self._squares[size] = constant_colours(square, colour_constancy)
        return self._squares[size]

    def faults(self) -> tuple[str, ...]:
        """What is wrong with it, in words. Raises: ImageError."""
        if self._faults is None:
            self._faults = faults(self.pixels(SIDE), self._measured)
        return self._faults

    def completed(self, patient: Patient) -> Patient:
        """The patient, completed by what a DICOM header says. Raises: ImageError when it cannot be read."""
        if self._header is None:
            self._header = self._read_header()
        age, sex = self._header
        return replace(
            patient,
            age=age if patient.age is None else patient.age,
            sex=sex or "unknown" if patient.sex in (None, "unknown") else patient.sex,
        )

    def of_nobody(self) -> Picture:
        """The same pixels, without what a header says of a patient; after `settle`."""
        other = Picture(b"")
        other._squares, other._faults, other._header = self._squares, self._faults, (None, None)
        return other

    def settle(self, needs: Needs) -> tuple[dict[str, Any], bytes]:
        """Keep what a model needs, its squares and the faults, and let go of the rest.

        Returns:
            What is kept, for another process: an object of JSON, and the squares.

        Raises:
            ImageError: it cannot or must not be decoded.
        """
        for size in needs.sizes:
            self.square(size, needs.crop, needs.colour_constancy)
        faults = self.faults()
        self.completed(Patient())
        self._source = self._measured = None
        self._decoded.clear()
        squares = b"".join(self._squares[size].tobytes() for size in needs.sizes)
        return {"sizes": needs.sizes, "faults": faults, "header": self._header}, squares

    @classmethod
    def from_message(cls, content: dict[str, Any], squares: bytes, image_id: str = "") -> Self:
        """The picture that another process has settled, from what its `settle` returned."""
        picture, at = cls(b""), 0
        picture.image_id = image_id
        for size in content["sizes"]:
            count = 3 * size * size
            picture._squares[size] = np.frombuffer(squares, np.uint8, count, at).reshape(size, size, 3)
            at += count
        age, sex = content["header"]
        picture._faults, picture._header = tuple(content["faults"]), (age, sex)
        return picture

    def _read_header(self) -> tuple[float | None, str | None]:
        """Age and sex from a DICOM header; neither for any other file."""
        source = self._source
        if isinstance(source, Path):
            if not source.is_file():  # decoding says why; opening a pipe would wait for its other end
                return None, None
            try:
                with source.open("rb") as file:
                    begin = file.read(132)
                data = source.read_bytes() if is_dicom(begin) else b""
            except OSError as error:
                raise ImageError(f"{source}: the image cannot be read ({error.strerror})") from error
            return dicom_patient(str(source), data) if data else (None, None)
        if isinstance(source, bytes) and is_dicom(source):
            return dicom_patient("the image", source)
        return None, None

    def _decode(self, min_side: int) -> np.ndarray:
        source = self._source
        if isinstance(source, Image.Image):
            return from_pillow(source)
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
                raise ImageError(
                    f"an array of {source.dtype}, {source.shape}, is no picture: uint8 (height, width, 3) is"
                )
            return source
        if not isinstance(source, (Path, bytes)):
            raise ImageError(
                f"an object of type {type(source).__name__} is no picture: name a file, or give its bytes"
                " or an array"
            )
        return read_image(source, min_side, self._max_pixels)


def sources_in(images: Source | Iterable[Source]) -> list[Source]:
    """One picture or several, as they came."""
    alone = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
    alone |= hasattr(images, "read") or not isinstance(images, Iterable)
    alone |= isinstance(images, np.ndarray) and images.ndim <= 3
    return [cast(Source, images)] if alone else list(cast(Iterable[Source], images))


def _held(source: Source) -> Path | bytes | Image.Image | np.ndarray | None:
    """What is kept of a source until it is decoded."""
    if isinstance(source, (str, os.PathLike)):
        if source == "":
            raise ImageError("an empty path names no image")
        return Path(source)
    if isinstance(source, (bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, Image.Image) or not hasattr(source, "read"):
        return source
    try:
        content = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"the opened file cannot be read ({error})") from error
    if not isinstance(content, bytes):
        raise ImageError("the opened file gives text: open it in binary mode")
    return content
