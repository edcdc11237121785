"""Test-time views: the same lesion turned, mirrored and at other sizes, its logits averaged.

A lesion has no upright side, so the eight symmetries of the square are eight equally good photographs of it.
NumPy only: what runs here runs with torch in training and with ONNX in prediction, by one arithmetic.

Shapes: B images, S side of the square, C classes, D features, V views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from dermlens.section import Section

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
                f"size {other[0]} beside the model's own {own} needs model.pool gap: a network that flattens"
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
