"""DICOM photographs: the first frame and what the header says of the patient. Free of torch and pandas.

Read are VL Photographic and Dermoscopic Photography objects in eight-bit colour, as they are, run-length
coded, or as baseline JPEG, which goes the way of every other JPEG. Of the header the patient's age and sex
are kept, and for training a name that stands for the patient; nothing else.

pydicom reads whatever a file announces, so this module limits what it may ask for: how many elements, how
long they are, into how many bytes run lengths unroll. Deflated files are refused: nothing says their size.

Source: DICOM PS3.3 A.32.4 and A.32.12; PS3.5 6.2 for AS, the coding of ages.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from dermlens.errors import require
from dermlens.predict.pictures.images import MAX_PIXELS, ImageError, decode_image, has_profile, in_srgb
from dermlens.predict.pictures.structure import check_structure, is_jpeg, jpeg_colours, marked_as
from dermlens.predict.sources.folders import begins_as_dicom
from dermlens.predict.sources.vocabulary import OLDEST

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image",
}
AS_IT_IS = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
RUN_LENGTHS = "1.2.840.10008.1.2.5"
JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
SPACES = ("RGB", "YBR_FULL", "YBR_FULL_422")
"""Colours of frames that are not JPEGs; retired ones such as HSV come out of pydicom as if they were RGB."""
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
SEXES = {"F": "female", "M": "male"}
PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
READ = (
    "SOPClassUID", "PatientID", "PatientSex", "PatientAge", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "ICCProfile", "PixelData",
)  # fmt: skip
"""Elements that are read; pydicom skips the others."""
MOST_READS = 20_000
"""Pieces of a header, about one an element; a photograph's has some hundred."""
LONGEST = 2**16
"""Bytes of a piece of a header; those that are read are words and numbers, but for the colour profile."""
ICC_PROFILE = 0x00282000
LONGEST_PROFILE = 2**22
"""Bytes of a colour profile; tables of colours in print take a few million."""
RUN_COST = 64
"""Pixels that a byte of run lengths may become."""
MOST_FRAMES = 10_000
"""Frames in a table of offsets."""


def dicom_pixels(
    name: str, data: bytes, min_side: int | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """Pixels of the first frame, in sRGB by the profile of the frame or else of the header (PS3.3 C.11.15).

    Whether a JPEG frame holds RGB is decided by its own marks, else by the header, as pydicom does.

    Args:
        name: of the file, for errors.
        data: its bytes.
        min_side: as `read_image` has it, for frames that are JPEGs.
        max_pixels: as `read_image` has it.

    Returns:
        uint8 (H, W, 3), writable.

    Raises:
        ImageError: no photograph of the two kinds, coded in a way that is not read, too large, or damaged.
        UserError: the extra `dicom` is not installed.
    """
    header = _read(name, data, pixels=True)
    kind = str(header.get("SOPClassUID", ""))
    if kind not in CLASSES:
        raise ImageError(
            f"{name}: a DICOM object of another kind ({kind or 'none named'}) than"
            f" {' and '.join(CLASSES.values())}"
        )
    try:
        height, width = int(header.Rows), int(header.Columns)
        colours = int(header.SamplesPerPixel), int(header.BitsAllocated)
        syntax = str(header.file_meta.TransferSyntaxUID)
        frames = int(header.get("NumberOfFrames", 1) or 1)
    except Exception as error:
        raise ImageError(f"{name}: damaged, its DICOM header does not describe a picture") from error
    most = min(MAX_PIXELS, max_pixels or MAX_PIXELS)
    if height * width > most:
        raise ImageError(f"{name}: {width} × {height} pixels; the most allowed is {most // 10**6} million")
    if colours != (3, 8):
        raise ImageError(f"{name}: only DICOM pictures of three colours of 8 bits are read")
    try:
        profile = bytes(header.get("ICCProfile", b"") or b"")
        if syntax in JPEG:
            frame = _first_frame(header.PixelData, frames)
            if not is_jpeg(frame):
                raise ImageError(f"{name}: its DICOM header says JPEG, and its pixels are coded otherwise")
            pixels = decode_image("the image", marked_as(frame, _is_rgb(header)), min_side, most)
            return in_srgb(name, pixels, profile) if profile and not has_profile(frame) else pixels
        if syntax not in (*AS_IT_IS, RUN_LENGTHS):
            raise ImageError(
                f"{name}: its DICOM transfer syntax {syntax} is not read; save it as baseline JPEG"
            )
        if (word := _colour_space(header)) not in SPACES:
            raise ImageError(
                f"{name}: its DICOM header says that colours are in {word or 'no space that it names'}; read"
                f" are {', '.join(SPACES)}"
            )
        if syntax == RUN_LENGTHS:
            _check_run_lengths(_first_frame(header.PixelData, frames), height * width)
        unpacked = _unpacked(header)
        return in_srgb(name, unpacked, profile) if profile else unpacked
    except ImageError as error:
        raise ImageError(str(error).replace("the image", name, 1)) from error
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(f"{name}: truncated or damaged, its DICOM pixels cannot be decoded") from error


def dicom_work(data: bytes) -> float:
    """About how many plain pixels a decoder will touch; 0 where it is refused anyway."""
    try:
        header = _read("the image", data, pixels=True)
        syntax = str(header.file_meta.TransferSyntaxUID)
        if syntax in JPEG:
            return check_structure(_first_frame(header.PixelData, 1)).work
    except MemoryError:
        raise
    except Exception:
        return 0
    return len(data) * (RUN_COST if syntax == RUN_LENGTHS else 1)


def dicom_size(name: str, data: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises: ImageError when the header cannot be read or does not say."""
    header = _read(name, data, pixels=False)
    try:
        return int(header.Columns), int(header.Rows)
    except Exception as error:
        raise ImageError(f"{name}: damaged, its DICOM header does not describe a picture") from error


def colour_doubt(path: Path) -> str | None:
    """In what way a DICOM header contradicts its JPEG frame; None for any other file."""
    if not begins_as_dicom(path):
        return None
    data = path.read_bytes()
    header = _read(str(path), data, pixels=True)
    if str(header.file_meta.get("TransferSyntaxUID", "")) not in JPEG:
        return None
    frame = jpeg_colours(_first_frame(header.PixelData, int(header.get("NumberOfFrames", 1) or 1)))
    if frame is None or (frame == "RGB") == _is_rgb(header):
        return None
    declared = str(header.get("PhotometricInterpretation", "") or "nothing")
    return f"the JPEG frame is marked as {frame}, the DICOM header says {declared}; the frame's mark counts"


def _colour_space(header: Any) -> str:
    return str(header.get("PhotometricInterpretation", "") or "").strip().upper()


def _is_rgb(header: Any) -> bool:
    return _colour_space(header) == "RGB"


def dicom_patient(name: str, data: bytes) -> tuple[float | None, str | None]:
    """Age in years and sex by the header; none where it does not say.

    Raises:
        ImageError: the header cannot be read.
        UserError: the extra `dicom` is not installed.
    """
    header = _read(name, data, pixels=False)
    declared = re.fullmatch(r"(\d{3})([DWMY])", str(header.get("PatientAge", "") or "").strip())
    age = int(declared[1]) * YEARS[declared[2]] if declared else None
    sex = SEXES.get(str(header.get("PatientSex", "") or "").strip())
    return age if age is None or age <= OLDEST else None, sex


def dicom_person(name: str, data: bytes) -> str | None:
    """A name for whoever the header says the patient is, which is not theirs; none where it does not say.

    Raises:
        ImageError: the header cannot be read.
        UserError: the extra `dicom` is not installed.
    """
    word = str(_read(name, data, pixels=False).get("PatientID", "") or "").strip()
    return f"dicom-{hashlib.sha256(word.encode()).hexdigest()[:12]}" if word else None


def is_dicom(data: bytes) -> bool:
    """Whether bytes begin as a DICOM file does (PS3.10, 7.1)."""
    return data[128:132] == b"DICM"


class _Pieces(io.BytesIO):
    """A file that gives pydicom a limited number of pieces, none of them long but the pixels."""

    def __init__(self, data: bytes, *, pixels: bool) -> None:
        super().__init__(data)
        self._bytes, self._longest, self._with_pixels = len(data), LONGEST, pixels
        # fragments of unknown length are read in pieces of 8 KB
        self._left = MOST_READS + len(data) // 4096

    def read(self, size: int | None = -1, /) -> bytes:
        """As of a file. Raises: ImageError when it is too much."""
        if size is None or size < 0:  # pydicom does so to inflate all that follows
            raise ImageError("the image: deflated DICOM files are not read; save it as baseline JPEG")
        self._left -= 1
        if size > self._longest or self._left < 0:
            raise ImageError("the image: its DICOM header is longer than that of any photograph")
        return super().read(size)

    def is_at_end(self, tag: int, vr: str | None, length: int) -> bool:
        """Whether pydicom, at an element, need not go on. Raises: ImageError when the file ends inside it."""
        del vr
        if length != UNDEFINED and length > self._bytes - self.tell():
            raise ImageError(
                "the image: truncated or damaged, its DICOM header announces more than the file has"
            )
        self._longest = LONGEST_PROFILE if tag == ICC_PROFILE else LONGEST
        if tag == PIXEL_DATA and self._with_pixels:
            self._longest = max(LONGEST, self._bytes)
            return False
        return tag >= PIXEL_DATA


def _read(name: str, data: bytes, *, pixels: bool) -> Any:
    pydicom = require("pydicom", "dicom")
    reader = require("pydicom.filereader", "dicom")
    # what others wrote against the standard is not ours to complain of
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    file = _Pieces(data, pixels=pixels)
    try:
        header = reader.read_partial(
            file, file.is_at_end, specific_tags=[pydicom.tag.Tag(one) for one in READ]
        )
        list(header)  # an element's value is made out when it is asked for, and may be of no known kind
        return header
    except ImageError as error:
        raise ImageError(str(error).replace("the image", name, 1)) from error
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(f"{name}: truncated or damaged, its DICOM header cannot be read") from error


def _first_frame(content: bytes, frames: int) -> bytes:
    """The first of encapsulated frames. Raises: ValueError when they are in more pieces than any picture."""
    if int.from_bytes(content[4:8], "little") > 4 * MOST_FRAMES:
        raise ValueError("more frames than a picture has")
    at = fragments = 0
    while at + 8 <= len(content):
        fragments += 1
        if fragments > MOST_FRAMES:
            raise ValueError("more fragments than a picture has")
        at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
    encaps = require("pydicom.encaps", "dicom")
    frame: bytes = encaps.get_frame(content, 0, number_of_frames=frames)
    return frame


def _check_run_lengths(frame: bytes, plane: int) -> None:
    """Check the segments of a frame (PS3.5 G).

    Raises:
        ValueError: they are not three, one after the other, or a colour has more codes, or unrolls to more,
            than its pixels and a byte of padding.
    """
    count, *begins = struct.unpack("<16I", frame[:64])
    edges = [*begins[:3], len(frame)]
    if count != 3 or begins[0] < 64 or any(begin >= end for begin, end in itertools.pairwise(edges)):
        raise ValueError("segments that are not three colours, one after the other")
    for at, end in itertools.pairwise(edges):
        if end - at > 2 * plane + 2:  # a code and a byte for every pixel, the worst that packs it
            raise ValueError("more run lengths than the picture has pixels")
        size = 0
        while at < end:
            code = frame[at]
            at += 2 if code > 128 else 1 if code == 128 else code + 2
            size += 257 - code if code > 128 else 0 if code == 128 else code + 1
            if size > plane + 1:
                raise ValueError("run lengths of more pixels than the picture has")


def _unpacked(header: Any) -> np.ndarray:
    pixels = require("pydicom.pixels", "dicom")
    frame_HWC = pixels.pixel_array(header, index=0)
    wanted = (int(header.Rows), int(header.Columns), 3)
    if frame_HWC.shape != wanted or not math.prod(wanted):
        raise ValueError(f"a frame of {frame_HWC.shape}")
    return np.array(frame_HWC, dtype=np.uint8)
