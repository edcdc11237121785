"""Colours as they would be under white light, as far as an image by itself can tell.

Shades of gray (Finlayson & Trezzi 2004, CIC 12:37–41): what lies in a scene has, in its Minkowski p-mean, no
colour, so that mean is the colour of the light: e_c = (mean of I_c^p)^(1/p). Each channel is divided by it,
at the strength that leaves white light alone: I'_c = I_c/(√3·ê_c), ê = e/‖e‖. p = 1 would be gray world and
p = ∞ the brightest pixel; p = 6 is the authors' best, and what Gessert et al. 2020 (MethodsX 7:100864) apply
to dermoscopic images, as here on the bytes of the file and not on linear light. As there, pixels with a
channel at 255 are left out of the mean: they were cut off, and say little of the light.

NumPy only: the cache of training and the predictor share it.

Shapes: H height, W width, C colours (3).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

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
