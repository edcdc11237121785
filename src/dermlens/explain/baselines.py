"""What stands in the place of a part of an image that is taken away.

Nothing is really nothing: each stand-in is a choice, and explanations differ with it. `blurred` takes away
structure and leaves colours where they are; `skin` takes away both.

S side of the square, C colours.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from dermlens.explain.heat import Pixels

BLUR = 1 / 12
"""Standard deviation of the blur, in sides: lesions' borders, nets and dots go, their shade stays."""
FRAME = 1 / 10
"""Breadth of the frame that counts as skin, in sides; lesions are photographed in the middle."""


def blurred(image_SSC: Pixels) -> Pixels:
    """The square out of focus."""
    filtered = Image.fromarray(image_SSC).filter(ImageFilter.GaussianBlur(BLUR * len(image_SSC)))
    return np.array(filtered, dtype=np.uint8)


def skin(image_SSC: Pixels) -> Pixels:
    """A square of one colour: the median of the frame, which is skin in most pictures."""
    side = len(image_SSC)
    width = max(1, round(FRAME * side))
    frame_SS = np.ones((side, side), dtype=bool)
    frame_SS[width : side - width, width : side - width] = False
    colour_C = np.median(image_SSC[frame_SS], axis=0).round().astype(np.uint8)
    return np.broadcast_to(colour_C, image_SSC.shape).copy()
