"""Whether a picture is fit to be looked at: a few plain measures, with limits seen on dermoscopy.

The limits are the extremes of HAM10000's training pictures (the lowest or highest one in a thousand);
docs/results/image_quality.md has them, what share of other pictures they turn away, and the command. They are
of the picture, not of the network: a network is as sure of a blurred picture as of a sharp one.

NumPy only. Shapes: H height, W width, S side of the square that is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dermlens.data.crops import crop_resize

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
        said: what a picture beyond it is.
    """

    measure: str
    least: bool
    value: float
    said: str

    def is_passed_by(self, value: float) -> bool:
        """Whether a measure lies beyond the bound."""
        return value < self.value if self.least else value > self.value


LIMITS = (
    Limit("brightness", True, 0.318, DARK),
    Limit("brightness", False, 0.87, BRIGHT),
    Limit("contrast", True, 0.026, FLAT),
    Limit("sharpness", True, -4.0, BLURRED),
    Limit("redness", True, 0.007, UNCOLOURED),
    Limit("redness", False, 0.456, UNCOLOURED),
)
"""The extremes of HAM10000's training pictures, rounded away from its middle."""


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
    said = [one.said for one in LIMITS if one.is_passed_by(found[one.measure])]
    if min(image_HWC.shape[:2]) < SMALLEST:
        said.insert(0, SMALL)
    return tuple(dict.fromkeys(said))
