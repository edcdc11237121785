"""DICOM photographs: the first frame and what the header says of the patient. Free of torch and pandas.

Read are VL Photographic and Dermoscopic Photography objects in eight-bit colour, as they are, run-length
coded, or as baseline JPEG, which goes the way of every other JPEG. Nothing else of the header is kept.

Source: DICOM PS3.3 A.32.4 and A.32.12; PS3.5 6.2 for AS, the coding of ages.
"""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np

from dermlens.data.images import MAX_PIXELS, ImageError, read_image
from dermlens.data.metadata import OLDEST
from dermlens.errors import require

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image",
}
AS_IT_IS = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
RUN_LENGTHS = "1.2.840.10008.1.2.5"
JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
SEXES = {"F": "female", "M": "male"}


def dicom_pixels(
    name: str, data: bytes, min_side: int | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """Pixels of the first frame.

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
            f"{name}: a DICOM object of another kind ({kind or 'none said'}) than"
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
        if syntax in JPEG:
            encaps = require("pydicom.encaps", "dicom")
            return read_image(encaps.get_frame(header.PixelData, 0, number_of_frames=frames), min_side, most)
        if syntax not in (*AS_IT_IS, RUN_LENGTHS):
            raise ImageError(
                f"{name}: its DICOM transfer syntax {syntax} is not read; save it as baseline JPEG"
            )
        return _unpacked(header)
    except ImageError as error:
        raise ImageError(str(error).replace("the image", name, 1)) from error
    except Exception as error:
        raise ImageError(f"{name}: truncated or damaged, its DICOM pixels cannot be decoded") from error


def dicom_patient(name: str, data: bytes) -> tuple[float | None, str | None]:
    """Age in years and sex by the header; none where it does not say.

    Raises:
        ImageError: the header cannot be read.
        UserError: the extra `dicom` is not installed.
    """
    header = _read(name, data, pixels=False)
    said = re.fullmatch(r"(\d{3})([DWMY])", str(header.get("PatientAge", "") or "").strip())
    age = int(said[1]) * YEARS[said[2]] if said else None
    sex = SEXES.get(str(header.get("PatientSex", "") or "").strip())
    return age if age is None or age <= OLDEST else None, sex


def is_dicom(data: bytes) -> bool:
    """Whether bytes begin as a DICOM file does (PS3.10, 7.1)."""
    return data[128:132] == b"DICM"


def _read(name: str, data: bytes, *, pixels: bool) -> Any:
    pydicom = require("pydicom", "dicom")
    # what others wrote against the standard is not ours to complain of
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=not pixels)
    except Exception as error:
        raise ImageError(f"{name}: truncated or damaged, its DICOM header cannot be read") from error


def _unpacked(header: Any) -> np.ndarray:
    pixels = require("pydicom.pixels", "dicom")
    frame_HWC = pixels.pixel_array(header, index=0)
    wanted = (int(header.Rows), int(header.Columns), 3)
    if frame_HWC.shape != wanted or not math.prod(wanted):
        raise ValueError(f"a frame of {frame_HWC.shape}")
    return np.array(frame_HWC, dtype=np.uint8)
