"""From a file of any size to the network's square: colours, crop, quality, test-time views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, field_validator

from dermlens.documents import Section
from dermlens.predict.pictures.dicom import dicom_pixels, dicom_size
from dermlens.predict.pictures.images import decode_image, decoded_size, named_bytes

# Colours as they would be under white light, as far as an image by itself can tell.
#
# Shades of gray (Finlayson & Trezzi 2004, CIC 12:37–41): what lies in a scene has, in its Minkowski p-mean,
# no colour, so that mean is the colour of the light: e_c = (mean of I_c^p)^(1/p). Each channel is divided by
# it, at the strength that leaves white light alone: I'_c = I_c/(√3·ê_c), ê = e/‖e‖. p = 1 would be gray world
# and p = ∞ the brightest pixel; p = 6 is the authors' best, and what Gessert et al. 2020 (MethodsX 7:100864)
# apply to dermoscopic images, as here on the bytes of the file and not on linear light. As there, pixels with
# a channel at 255 are left out of the mean: they were cut off, and say little of the light.
#
# NumPy only: the cache of training and the predictor share it.
#
# Shapes: H height, W width, C colours (3).


ColourConstancy = Literal["none", "shades_of_gray"]
NORM = 6  # p


def constant_colours(image_HWC: npt.NDArray[np.uint8], method: ColourConstancy) -> npt.NDArray[np.uint8]:
    """Take the colour of the light out of an image.

    Args:
        image_HWC: uint8, red, green and blue.
        method: `none` or `shades_of_gray`.

    Returns:
        uint8 of the same shape; the image itself under `none`, a new array else.
    """
    if method == "none":
        return image_HWC
    if method != "shades_of_gray":
        raise ValueError(f"colour constancy {method!r} is not known; known: none, shades_of_gray")
    gain_C = _gains(image_HWC)
    table_VC = np.minimum(np.rint(np.arange(256)[:, None] * gain_C), 255).astype(np.uint8)
    return np.stack([table_VC[:, c][image_HWC[..., c]] for c in range(3)], axis=-1)


def _gains(image_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """1/(√3·ê_c); 1 for a channel that is dark throughout."""
    kept_NC = image_HWC[image_HWC.max(axis=-1) < 255]
    if not len(kept_NC):
        return np.ones(3)
    power_V = np.arange(256, dtype=np.float64) ** NORM
    counts_CV = np.stack([np.bincount(kept_NC[:, c], minlength=256) for c in range(3)])
    light_C = (counts_CV @ power_V / len(kept_NC)) ** (1 / NORM)
    length = np.sqrt((light_C**2).sum())
    gain_C = np.ones(3)
    np.divide(length, np.sqrt(3) * light_C, out=gain_C, where=light_C > 0)
    return gain_C


# Shapes: H height, W width, C channels (3; a mask has none), S side of the square.


Crop = Literal["center", "squash"]


def read_square(
    source: Path | bytes, size: int, crop: Crop, colour_constancy: ColourConstancy = "none"
) -> np.ndarray:
    """Decode, crop, resize, balance the colours: the whole way from a file to what the network sees.

    JPEGs are decoded at the smallest scale that still has `size` pixels on the short side. Training and
    prediction share that choice, as it changes pixels a little: docs/results/cache_build.md says how much.

    Args:
        source: a file, or its bytes.
        size: side of the square in pixels.
        crop: `center` or `squash`.
        colour_constancy: `none` or `shades_of_gray`.

    Returns:
        uint8 (S, S, 3).

    Raises:
        ImageError: as `read_image` says.
    """
    return constant_colours(crop_resize(read_image(source, min_side=size), size, crop), colour_constancy)


def crop_resize(image_HWC: np.ndarray, size: int, crop: Crop) -> np.ndarray:
    """Make it square with an antialiased bilinear (triangle) filter.

    Args:
        image_HWC: uint8 (H, W, 3), or (H, W) for a mask.
        size: side of the square in pixels.
        crop: `center` takes the largest centred square, `squash` the whole image out of proportion.

    Returns:
        uint8 (S, S, 3) or (S, S), writable.
    """
    window = crop_window(image_HWC, crop)
    if window.shape[:2] == (size, size):
        return window.copy()
    square = Image.fromarray(np.ascontiguousarray(window)).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(square)


def crop_window(image_HWC: np.ndarray, crop: Crop, aspect: float | None = None) -> np.ndarray:
    """The part of the image that a crop keeps, as a view.

    Args:
        image_HWC: (H, W, …).
        crop: `center` or `squash`. Where the margin is odd, the square lies one pixel nearer the top left.
        aspect: width over height of the scene, where the image is squashed out of proportion: the part is
            then a square of the scene, and resizing it to a square sets the proportions right.

    Returns:
        A view of the same memory.
    """
    if crop == "squash":
        return image_HWC
    if crop != "center":
        raise ValueError(f"crop {crop!r} is not known; known: center, squash")
    height, width = image_HWC.shape[:2]
    rows = columns = min(height, width)
    if aspect is not None:
        # of the scene, height : width is 1 : aspect, whatever the pixels are
        rows = height if aspect >= 1 else round(height * aspect)
        columns = round(width / aspect) if aspect >= 1 else width
    top, left = (height - rows) // 2, (width - columns) // 2
    return image_HWC[top : top + rows, left : left + columns]


# Test-time views: the same lesion turned, mirrored and at other sizes, its logits averaged.
#
# A lesion has no upright side, so the eight symmetries of the square are eight equally good photographs of
# it. NumPy only: what runs here runs with torch in training and with ONNX in prediction, by one arithmetic.
#
# Shapes: B images, S side of the square, C classes, D features, V views.


Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.floating]
Logits = npt.NDArray[np.float64]

Side = Annotated[int, Field(ge=32, le=1024)]
FLIP_ROWS, FLIP_COLUMNS, TRANSPOSE = 2, 1, 4


class ViewsConfig(Section):
    """Which views of an image are averaged at prediction.

    Attributes:
        symmetries: of the square: 1 the image as it is; 2 its mirror image too; 4 the mirror images along
            both axes and the half turn; 8 the whole dihedral group, quarter turns and diagonals with it.
        sizes: sides of the square input in pixels, each seen under all symmetries; empty for the model's own.
            Others than the model's own need model.pool gap.
    """

    symmetries: Literal[1, 2, 4, 8] = 1
    sizes: tuple[Side, ...] = ()

    @field_validator("sizes")
    @classmethod
    def _sizes_differ(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(sizes)) < len(sizes):
            raise ValueError("a size is listed twice; each is one view")
        return sizes

    def check(self, *, own: int, pool: str) -> None:
        """Refuse sizes that a network cannot take.

        Args:
            own: side that the network was built for, in pixels.
            pool: its `model.pool`.

        Raises:
            ValueError: sizes other than its own for a network whose last layer counts positions.
        """
        other = [size for size in self.sizes if size != own]
        if other and pool != "gap":
            raise ValueError(
                f"size {other[0]} with the model's own {own} needs model.pool gap: a network that flattens"
                f" its feature map (pool {pool}) takes images of one size"
            )


def symmetry(x_BSSC: Pixels, index: int) -> Pixels:
    """One of the eight symmetries of the square.

    Args:
        x_BSSC: square images.
        index: 0 is the identity; 1 mirrors the columns, 2 the rows, 4 exchanges rows and columns, and sums
            of them do both, so that the first 1, 2, 4 and 8 are groups.

    Returns:
        (B, S, S, C), contiguous.
    """
    if index & TRANSPOSE:
        x_BSSC = x_BSSC.swapaxes(1, 2)
    if index & FLIP_ROWS:
        x_BSSC = x_BSSC[:, ::-1]
    if index & FLIP_COLUMNS:
        x_BSSC = x_BSSC[:, :, ::-1]
    return np.ascontiguousarray(x_BSSC)


def unturned(map_CHW: npt.NDArray[np.floating], index: int) -> npt.NDArray[np.floating]:
    """A map of a square under a symmetry, turned back to lie on the square as it is; H equals W."""
    if index & FLIP_COLUMNS:
        map_CHW = map_CHW[:, :, ::-1]
    if index & FLIP_ROWS:
        map_CHW = map_CHW[:, ::-1]
    return map_CHW.swapaxes(1, 2) if index & TRANSPOSE else map_CHW


def average_views(
    views: ViewsConfig,
    own: int,
    pixels: Callable[[int], Pixels],
    network: Callable[[Pixels], tuple[Numbers, Numbers]],
) -> tuple[Logits, Numbers]:
    """Run a network on every view and average its logits.

    The mean of logits is, up to a constant of each image, the mean of log-probabilities: the views vote by
    the geometric mean of their probabilities. The constant is kept, since energy scores read it.

    Args:
        views: which.
        own: the model's own size in pixels.
        pixels: the images at a size, (B, size, size, 3).
        network: logits (B, C) and features (B, D) of such images.

    Returns:
        logits_BC in double precision, and features_BD of the image as it is at the model's own size: features
        are a place in a space, and the mean of two places is neither of them.
    """
    total_BC: Logits | None = None
    features_BD: Numbers | None = None
    sizes = views.sizes or (own,)
    for size in sizes:
        x_BSSC = pixels(size)
        for index in range(views.symmetries):
            logits_BC, found_BD = network(symmetry(x_BSSC, index))
            total_BC = logits_BC.astype(np.float64) + (0.0 if total_BC is None else total_BC)
            if size == own and index == 0:
                features_BD = found_BD
    if features_BD is None:
        features_BD = network(pixels(own))[1]
    assert total_BC is not None  # sizes and symmetries are at least one
    return total_BC / (len(sizes) * views.symmetries), features_BD


# Whether a picture is fit to be looked at: a few plain measures, with limits seen on dermoscopy.
#
# The limits are the extremes of HAM10000's training pictures (the lowest or highest one in a thousand);
# docs/results/image_quality.md has them, what share of other pictures they turn away, and the command. They
# are of the picture, not of the network: a network is as sure of a blurred picture as of a sharp one.
#
# NumPy only. Shapes: H height, W width, S side of the square that is measured.


SIDE = 192
"""Side of the square that is measured, in pixels; limits hold for it alone."""
SMALLEST = 64
"""Fewest pixels on the short side; below them even a small network sees an enlargement."""
LUMA = (0.299, 0.587, 0.114)

DARK, BRIGHT = "too dark", "too bright"
FLAT, BLURRED = "hardly any contrast", "out of focus"
UNCOLOURED = "not in the colours of skin"
SMALL = "too few pixels"


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound of a measure.

    Attributes:
        measure: a key of `measures`.
        least: whether it is the least that passes, or the most.
        value: the bound.
        fault: what a picture beyond it is.
    """

    measure: str
    least: bool
    value: float
    fault: str

    def is_passed_by(self, value: float) -> bool:
        """Whether a measure lies beyond the bound."""
        return value < self.value if self.least else value > self.value


LIMITS = (
    Limit("brightness", True, 0.318, DARK),
    Limit("brightness", False, 0.87, BRIGHT),
    Limit("contrast", True, 0.0195, FLAT),
    Limit("sharpness", True, -4.0, BLURRED),
    Limit("redness", True, 0.007, UNCOLOURED),
    Limit("redness", False, 0.456, UNCOLOURED),
)
"""The extremes of HAM10000's training pictures, rounded away from its middle: contrast by more, since
MILK10k's flattest pictures lie below HAM10000's."""


def measured_square(image_HWC: np.ndarray) -> np.ndarray:
    """The centred square of a picture at `SIDE` pixels, uint8 (S, S, 3)."""
    return crop_resize(image_HWC, SIDE, "center")


def measures(square_SSC: np.ndarray) -> dict[str, float]:
    """What is measured of a picture.

    Args:
        square_SSC: as `measured_square` gives it.

    Returns:
        `brightness`, mean luma of 0 to 1; `contrast`, standard deviation of luma; `sharpness`, log10 of the
        variance of its Laplacian (Pech-Pacheco and others 2000); `redness`, mean of red less green, −1 to 1.
    """
    x_SSC = square_SSC.astype(np.float32) / 255
    luma_SS = x_SSC @ np.array(LUMA, dtype=np.float32)
    middle_SS = luma_SS[1:-1, 1:-1]
    around_SS = luma_SS[:-2, 1:-1] + luma_SS[2:, 1:-1] + luma_SS[1:-1, :-2] + luma_SS[1:-1, 2:]
    return {
        "brightness": float(luma_SS.mean()),
        "contrast": float(luma_SS.std()),
        "sharpness": float(np.log10((4 * middle_SS - around_SS).var() + 1e-12)),
        "redness": float((x_SSC[..., 0] - x_SSC[..., 1]).mean()),
    }


def faults(image_HWC: np.ndarray, square_SSC: np.ndarray | None = None) -> tuple[str, ...]:
    """What is wrong with a picture, in words; empty for nothing.

    Args:
        image_HWC: uint8 RGB, of any size.
        square_SSC: as `measured_square` gives it, where that is at hand.
    """
    found = measures(measured_square(image_HWC) if square_SSC is None else square_SSC)
    fault = [one.fault for one in LIMITS if one.is_passed_by(found[one.measure])]
    if min(image_HWC.shape[:2]) < SMALLEST:
        fault.insert(0, SMALL)
    return tuple(dict.fromkeys(fault))


def read_image(
    source: Path | bytes, min_side: int | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """Decode one image to upright sRGB pixels.

    Orientation (EXIF) is applied, an embedded colour profile is converted to sRGB, transparency is laid over
    white, 16-bit grey is reduced to 8; of several frames the first counts. Nothing else of the file is kept.
    DICOM photographs go by `dermlens.predict.pictures.dicom`.

    Args:
        source: a file, or its bytes.
        min_side: the decoder may halve a JPEG up to three times (in its frequency domain, which costs less
            than decoding it whole) as long as the short side keeps so many pixels; none decodes it whole.
        max_pixels: a limit below MAX_PIXELS; none for that one.

    Returns:
        uint8 (H, W, 3), writable.

    Raises:
        ImageError: not there, no ordinary file, empty, not one of FORMATS by its content, over MAX_PIXELS or
            MAX_BYTES, with headers that announce what no decoder should be asked for
            (`structure`), a JPEG of more scans than anyone needs, truncated, damaged, or with a
            colour mode or profile that has no sure way to RGB.
    """
    name, data = named_bytes(source)
    if data[128:132] == b"DICM":
        return dicom_pixels(name, data, min_side, max_pixels)
    return decode_image(name, data, min_side, max_pixels)


def image_size(source: Path | bytes) -> tuple[int, int]:
    """Width and height of an upright picture in pixels, from its header; of whatever `read_image` takes.

    Raises:
        ImageError: as `read_image`, as far as the header tells.
    """
    name, data = named_bytes(source)
    if data[128:132] == b"DICM":
        return dicom_size(name, data)
    return decoded_size(name, data)
