"""A U-Net for lesion masks, alone or with a head for the diagnosis on the same encoder ([1], [15], [16]).

The network is that of segmentation_models_pytorch (the extra `segment`). Its encoder is the backbone of the
baseline, whose ImageNet start it takes; trained, it can be the start of a classifier, as in Lee et al. 2018
(arXiv 1808.03426). Losses: binary cross-entropy and Dice's of the mask, and cross-entropy of the diagnosis.
Which losses and encoders the cited systems have was not found.

Shapes: B images, S their side, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dermlens import __version__
from dermlens.documents import Section
from dermlens.errors import UserError, require
from dermlens.export.onnx_export import onnx_graph, random_pixels
from dermlens.files import atomic_path, write_json, write_text
from dermlens.models.table import HALF
from dermlens.predict.network import IMAGE
from dermlens.predict.segmenter import (
    LESION,
    SEGMENTER_FILE,
    SEGMENTER_ONNX,
    Agreement,
    Segmenter,
    SegmenterDocument,
    Shape,
)

Pixels = NDArray[np.uint8]
Draw = Callable[[NDArray[np.int64]], tuple[Pixels, Pixels, NDArray[np.int64]]]
"""Rows → their images (B, S, S, 3), masks (B, S, S) of 0 or 255, and classes."""

WEIGHTS, RECIPE = "unet.safetensors", "unet.json"
LARGEST = 1e-4
"""Largest difference of a probability between the network and its ONNX file; rounding moves about 1e-6."""
LICENCE = "CC BY-NC 4.0"
"""Of weights that were trained on HAM10000, as its images are."""


class SegmentationRecipe(Section):
    """A U-Net and its training.

    Attributes:
        name: of the system.
        encoder: timm's name of the encoder.
        start: a safetensors file of the uncut encoder, or none for random weights.
        size: side of the squares, in pixels.
        shape: how an image becomes one: `squash` out of proportion, or `pad` with black bars, as 450 × 600
            becomes 600 × 600 in [16].
        classes: of a head for the diagnosis on the same encoder; 0 for masks alone.
        epochs, batch_size, lr: of the training by AdamW.
        seed: of weights and order.
    """

    name: str
    encoder: str = "tf_mobilenetv3_small_100"
    start: str | None = None
    size: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 128
    shape: Shape = "squash"
    classes: Annotated[int, Field(ge=0)] = 0
    epochs: PositiveInt = 4
    batch_size: PositiveInt = 32
    lr: PositiveFloat = 1e-3
    seed: Annotated[int, Field(ge=0)] = 0


class LesionUNet(nn.Module):
    """Pixels of 0 to 255 in, logits of the mask out, and of the diagnosis where there is a head.

    Args:
        recipe: of the network.

    Raises:
        UserError: the extra is not installed, or the start is of another network.
    """

    def __init__(self, recipe: SegmentationRecipe) -> None:
        super().__init__()
        library = require("segmentation_models_pytorch", "segment")
        torch.manual_seed(recipe.seed)
        head = {"classes": recipe.classes, "pooling": "avg"} if recipe.classes else None
        self.unet = library.Unet(
            f"tu-{recipe.encoder}", encoder_weights=None, in_channels=3, classes=1, aux_params=head
        )
        if recipe.start is not None:
            given = load_file(recipe.start)
            own = self.unet.encoder.model.state_dict()
            if lacking := [name for name in own if name not in given and "num_batches" not in name]:
                raise UserError(f"{recipe.start} has no {lacking[0]}: it is no start of {recipe.encoder}")
            taken = {name: given[name].to(own[name].dtype) for name in own if name in given}
            self.unet.encoder.model.load_state_dict(taken, strict=False)

    def forward(self, x_BSS3: Tensor) -> tuple[Tensor, Tensor | None]:
        """mask_BSS, and logits_BC or none."""
        x_B3SS = (x_BSS3.permute(0, 3, 1, 2).float() - HALF.mean[0]) / HALF.std[0]
        found = self.unet(x_B3SS)
        mask_B1SS, logits_BC = found if isinstance(found, tuple | list) else (found, None)
        return mask_B1SS[:, 0], logits_BC


def mask_loss(mask_BSS: Tensor, true_BSS: Tensor) -> Tensor:
    """Binary cross-entropy, and 1 less Dice's coefficient of each image, both as means.

    Args:
        mask_BSS: logits.
        true_BSS: 0 or 1.
    """
    p_BSS = mask_BSS.sigmoid()
    both_B, sizes_B = (p_BSS * true_BSS).sum((1, 2)), (p_BSS + true_BSS).sum((1, 2))
    dice_B = (2 * both_B + 1) / (sizes_B + 1)  # an empty mask that is found empty has 1
    return F.binary_cross_entropy_with_logits(mask_BSS, true_BSS) + (1 - dice_B).mean()


def train_unet(
    recipe: SegmentationRecipe, draw: Draw, rows: NDArray[np.int64], say: Callable[[str], None] = print
) -> LesionUNet:
    """Train on rows of a data set; every image is turned and mirrored at random with its mask."""
    network = LesionUNet(recipe)
    rng = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr)
    for epoch in range(recipe.epochs):
        network.train()
        losses = []
        order = rng.permutation(rows)
        for start in range(0, len(order), recipe.batch_size):
            taken = order[start : start + recipe.batch_size]
            if len(taken) == 1:
                continue  # batch norm has no variance of one image
            x_BSS3, true_BSS, target_B = draw(taken)
            x_BSS3, true_BSS = turned_together(x_BSS3, true_BSS, rng)
            mask_BSS, logits_BC = network(torch.from_numpy(x_BSS3))
            loss = mask_loss(mask_BSS, torch.from_numpy(true_BSS > 127).float())
            if logits_BC is not None:
                loss = loss + F.cross_entropy(logits_BC, torch.from_numpy(target_B))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
        say(f"epoch {epoch}: loss {np.mean(losses):.3f}")
    return network.eval()


def turned_together(x_BSS3: Pixels, true_BSS: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Images and masks under the same quarter turn and reflection, drawn once a batch."""
    quarter, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    both = [np.rot90(part, quarter, (1, 2)) for part in (x_BSS3, true_BSS)]
    both = [part[:, :, ::-1] if mirrored else part for part in both]
    return np.ascontiguousarray(both[0]), np.ascontiguousarray(both[1])


def predict_masks(network: LesionUNet, x_BSS3: Pixels) -> Pixels:
    """Masks of 0 or 255."""
    with torch.inference_mode():
        mask_BSS, _ = network(torch.from_numpy(x_BSS3))
    return np.where(mask_BSS.numpy() > 0, np.uint8(255), np.uint8(0))


def save_unet(network: LesionUNet, recipe: SegmentationRecipe, folder: Path) -> None:
    """Write weights and recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECIPE, recipe.model_copy(update={"start": None}).model_dump_json(indent=1) + "\n")
    with atomic_path(folder / WEIGHTS) as part:
        save_file(network.state_dict(), part)


def load_unet(folder: Path) -> tuple[LesionUNet, SegmentationRecipe]:
    """What `save_unet` wrote, in evaluation mode. Raises: UserError: it is not there."""
    if not (folder / RECIPE).is_file():
        raise UserError(f"{folder} holds no {RECIPE}: name the folder of a trained U-Net")
    recipe = SegmentationRecipe.model_validate(json.loads((folder / RECIPE).read_text(encoding="utf-8")))
    network = LesionUNet(recipe)
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.eval(), recipe


class ExportedUNet(nn.Module):
    """A U-Net from bytes to the probability of lesion at each pixel, a head for the diagnosis left out."""

    def __init__(self, network: LesionUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_BSS3: Tensor) -> Tensor:
        mask_BSS, _ = self.network(image_BSS3)
        return torch.sigmoid(mask_BSS)


def export_unet(
    network: LesionUNet,
    recipe: SegmentationRecipe,
    folder: Path,
    x_NSS3: Pixels,
    *,
    trained_on: str,
    measured: Agreement | None,
) -> SegmenterDocument:
    """Write what `dermlens segment --model` reads, if it finds what the network finds.

    Args:
        network: in evaluation mode.
        recipe: of the network.
        folder: to write to.
        x_NSS3: some images, on which both are compared, as on random pixels.
        trained_on: in words.
        measured: on held-out images.

    Raises:
        UserError: the extra `export` is not installed.
        RuntimeError: the exported network is not the network.
    """
    exported = ExportedUNet(network).eval()
    proto = onnx_graph(exported, (torch.from_numpy(random_pixels(2, recipe.size)),), [IMAGE], [LESION])
    content: bytes = proto.SerializeToString()
    document = SegmenterDocument(
        dermlens=__version__,
        name=recipe.name,
        encoder=recipe.encoder,
        size=recipe.size,
        shape=recipe.shape,
        licence=LICENCE,
        trained_on=trained_on,
        measured=measured,
        sha256=hashlib.sha256(content).hexdigest(),
        largest_difference=0.0,
    )
    segmenter = Segmenter(content, document, str(folder / SEGMENTER_ONNX), threads=1)
    shown_BSS3 = np.concatenate([random_pixels(3, recipe.size), x_NSS3])
    with torch.inference_mode():
        expected_BSS = exported(torch.from_numpy(shown_BSS3)).numpy()
    difference = float(np.abs(segmenter.probabilities(shown_BSS3) - expected_BSS).max())
    if not difference <= LARGEST:
        raise RuntimeError(f"the exported network's probabilities are off by {difference:.2g}")
    document = document.model_copy(update={"largest_difference": difference})
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / SEGMENTER_ONNX) as part:
        part.write_bytes(content)
    write_json(folder / SEGMENTER_FILE, document.model_dump(mode="json"))
    return document


def save_encoder(network: LesionUNet, start: Path, path: Path) -> None:
    """Write a start for a classifier: the encoder as it was trained on masks, and the rest of its own start.

    Args:
        network: trained.
        start: a safetensors file of the uncut encoder, whose last layers a U-Net has no part of.
        path: to write to, for `model.weights` of a recipe.
    """
    tensors: dict[str, Any] = load_file(start)
    own = network.unet.encoder.model.state_dict()
    for name, value in own.items():
        if name in tensors:
            tensors[name] = value.to(tensors[name].dtype).contiguous()
    with atomic_path(path) as part:
        save_file(tensors, part)
