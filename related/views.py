"""Crops of one size in training, and many views of an image in prediction (Gessert et al. 2020, [10]; [12]).

    same size        training crops are cut out of a larger image at its own scale, at random places
    ordered crops    in prediction, n × n crops of the same size at even steps from edge to edge
    multi-resolution in prediction, the centre at several scales, each resized to the input, under four flips

The mean of the softmax of all views counts, as in [12]. The articles have 36 and 16 ordered crops, and 4
scales of 4 flips. Shapes: B images, S side of the square, T side of a view, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from dermlens.documents import Section
from dermlens.errors import UserError
from dermlens.models.saved import SavedModel
from dermlens.predict.pictures.preprocessing import symmetry
from dermlens.training.inputs import Batch, Inputs
from dermlens.training.task import LesionTask

Pixels = NDArray[np.uint8]
FLIPS = 4
"""The first four symmetries of the square: the image, its two mirror images, and the half turn."""


class ViewsRecipe(Section):
    """The networks of another system, asked for the mean of many views.

    Attributes:
        name: of the system.
        of: id of the system that was trained.
        cached: side of the squares that views are cut from.
        side: T, of a view as the network gets it.
        crops: n; none takes the scales.
        scales: shares of the side of the centre; each is resized and flipped.
    """

    name: str
    of: str
    cached: Annotated[int, Field(ge=32, le=1024)]
    side: Annotated[int, Field(ge=32, le=1024)] = 128
    crops: Annotated[int, Field(ge=2, le=8)] | None = None
    scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.crops is None) == (not self.scales):
            raise ValueError("views are ordered crops or scales: give crops or scales")
        if self.crops is not None and self.side > self.cached:
            raise ValueError(f"crops of side {self.side} do not fit into cached {self.cached}")
        return self


def ordered_crops(x_BSS3: Pixels, side: int, per_axis: int) -> Iterator[Pixels]:
    """Crops of T pixels, row by row, their corners at even steps from edge to edge."""
    corners = [round(step * (x_BSS3.shape[1] - side) / (per_axis - 1)) for step in range(per_axis)]
    for top in corners:
        for left in corners:
            yield x_BSS3[:, top : top + side, left : left + side]


def scaled_views(x_BSS3: Pixels, side: int, scales: tuple[float, ...]) -> Iterator[Pixels]:
    """The centre at each scale, resized to T pixels with an antialiased bilinear filter, under four flips."""
    whole = x_BSS3.shape[1]
    for scale in scales:
        kept = max(1, round(scale * whole))
        first = (whole - kept) // 2
        box = (first, first, first + kept, first + kept)
        sized_BTT3 = np.stack(
            [
                np.asarray(Image.fromarray(x_SS3).crop(box).resize((side, side), Image.Resampling.BILINEAR))
                for x_SS3 in x_BSS3
            ]
        )
        for index in range(FLIPS):
            yield symmetry(sized_BTT3, index)


def mean_of_views(
    saved: SavedModel, recipe: ViewsRecipe, x_BSS3: Pixels, meta_BM: NDArray[np.float32]
) -> NDArray[np.float64]:
    """p_BC, the mean of the softmax over views."""
    views = (
        ordered_crops(x_BSS3, recipe.side, recipe.crops)
        if recipe.crops is not None
        else scaled_views(x_BSS3, recipe.side, recipe.scales)
    )
    network, meta, found = saved.model.eval(), torch.from_numpy(meta_BM), []
    with torch.inference_mode():
        for view_BTT3 in views:
            x_B3TT = torch.from_numpy(np.ascontiguousarray(view_BTT3)).permute(0, 3, 1, 2)
            found.append(network(x_B3TT, meta)[0].double().softmax(1))
    return np.asarray(torch.stack(found).mean(0).numpy())


class SameSizeTask(LesionTask):
    """Trains on random crops of one size; scores whole images, which a network with `pool: gap` takes.

    Args:
        model: the classifier.
        inputs: the data.
        side: T, of the crops in pixels.
        **own: of `LesionTask`.

    Raises:
        UserError: images are smaller than the crops.
    """

    def __init__(self, model: Any, *, inputs: Inputs, side: PositiveInt, **own: Any) -> None:
        super().__init__(model, **own)
        if side > inputs.size:
            raise UserError(f"train.task side {side} is more than data.size {inputs.size}: crops do not fit")
        self.side = side

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch of crops."""
        return super().training_step(batch | {"image": random_crops(batch["image"], self.side)}, batch_idx)


def random_crops(x_BCSS: Tensor, side: int) -> Tensor:
    """A square of T pixels of each image, its place uniform; drawn from torch's own generator."""
    last = x_BCSS.shape[2] - side
    corners_B2 = torch.randint(last + 1, (len(x_BCSS), 2)).tolist()
    return torch.stack(
        [
            x_CSS[:, top : top + side, left : left + side]
            for x_CSS, (top, left) in zip(x_BCSS, corners_B2, strict=True)
        ]
    ).contiguous(memory_format=torch.channels_last)
