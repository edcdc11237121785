"""The classifier: pixels in, scores out, and what it looked at.

B batch, C classes in `logits_BC` and channels in `x_BCHW`, H × W positions, K heads, M metadata width,
D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from dermlens.errors import UserError
from dermlens.models.config import ModelConfig
from dermlens.models.cuts import build_backbone, feature_shape
from dermlens.models.head import Intermediates, LogitsHead, MapHead
from dermlens.models.metadata_branch import build_branch
from dermlens.models.soft_attention import SoftAttention
from dermlens.models.table import BACKBONES, HALF, ChannelOrder, Normalization


class LesionClassifier(nn.Module):
    """One member of the family; `build_classifier` makes it.

    Attributes:
        normalize: of the pixels.
        backbone: the cut network.
        head: all that follows it.
        feature_shape: (channels, height, width) of the backbone's output; (1000,) for the plain classifier.
        size: side of the square images that it was built for.
        divide_map: what the map at the cut is divided by.
    """

    def __init__(
        self,
        normalization: Normalization,
        backbone: nn.Module,
        head: MapHead | LogitsHead,
        *,
        feature_shape: tuple[int, ...],
        size: int,
        channel_order: ChannelOrder = "rgb",
        divide_map: float = 1.0,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(normalization, channel_order)
        self.backbone = backbone
        self.head = head
        self.feature_shape = feature_shape
        self.size = size
        self.divide_map = divide_map

    def forward(self, x_BCHW: Tensor, meta_BM: Tensor | None = None) -> tuple[Tensor, Intermediates]:
        """Classify.

        Args:
            x_BCHW: RGB pixels of 0 to 255, uint8 or floating; normalisation is inside.
            meta_BM: encoded metadata, for networks with a metadata branch; others do not look at it.

        Returns:
            logits_BC, and intermediates: `features_BD`, what the last layer sees of the image (not of the
            patient), `last_BCHW`, the map that was pooled or flattened to them, where there is one, and with
            attention `alpha_BKHW`, the maps, each of sum 1.

        Raises:
            ValueError: the network has a metadata branch and got no metadata.
        """
        map_BCHW = self.backbone(self.normalize(x_BCHW))
        if self.divide_map != 1.0:
            map_BCHW = map_BCHW / self.divide_map
        out: tuple[Tensor, Intermediates] = self.head(map_BCHW, meta_BM)
        return out


class Normalize(nn.Module):
    """(x − mean) / std on RGB pixels of 0 to 255; its numbers travel with the weights.

    With `bgr` the colours are turned round first: the numbers, like the network, then meet blue first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, numbers: Normalization, channel_order: ChannelOrder = "rgb") -> None:
        super().__init__()
        self.channel_order = channel_order
        self.register_buffer("mean", torch.tensor(numbers.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(numbers.std).view(3, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.channel_order == "bgr":
            x_BCHW = x_BCHW.flip(1)
        return (x_BCHW - self.mean) / self.std


def build_classifier(
    config: ModelConfig, *, num_classes: int, meta_width: int, size: int | None = None
) -> LesionClassifier:
    """Build a network of the family, its backbone started as the configuration says.

    Args:
        config: which member.
        num_classes: how many logits.
        meta_width: M, length of the metadata vector; 0 without metadata.
        size: side of the square images; none takes the backbone's own.

    Returns:
        The classifier, in training mode.

    Raises:
        UserError: the weights cannot be had, the images are too small, or the network wants metadata that the
            encoder does not give.
    """
    backbone = build_backbone(
        config.backbone,
        config.cut,
        form=config.resolved_form,
        conventions=config.resolved_conventions,
        weights=config.weights,
    )
    return assemble(config, backbone, num_classes=num_classes, meta_width=meta_width, size=size)


def assemble(
    config: ModelConfig,
    backbone: fx.GraphModule,
    *,
    num_classes: int,
    meta_width: int,
    size: int | None = None,
) -> LesionClassifier:
    """Put a network of the family together around a backbone that is there; as `build_classifier` else."""
    row = BACKBONES[config.backbone]
    size = size or row.size
    if config.metadata != "none" and meta_width == 0:
        raise UserError(
            f"model.metadata {config.metadata} needs metadata and data.metadata gives none: set one to match"
        )
    shape = feature_shape(backbone, size)
    if shape is None:
        raise UserError(f"data.size {size} is too small for {config.backbone}, whose own size is {row.size}")
    if config.cut == "plain":
        head: MapHead | LogitsHead = LogitsHead(shape[0], num_classes)
    else:
        attention = None
        if config.attention != "none":
            attention = SoftAttention(shape[0], config.heads, kernel=config.attention, gamma=config.gamma)
        head = MapHead(
            shape,
            num_classes,
            attention=attention,
            branch=build_branch(config.metadata, meta_width, shape[0]),
            pool=config.pool,
            dropout=config.dropout,
            # the authors' VGG16 is cut in its middle and goes on behind the attention
            tail=row.tail if config.cut == "paper" else None,
        )
    if config.resolved_conventions == "keras":
        head.start_as_keras()
    own = row.input_normalization(config.resolved_form)
    pixels = HALF if config.normalization == "half" else own
    return LesionClassifier(
        pixels,
        backbone,
        head,
        feature_shape=shape,
        size=size,
        channel_order=config.channel_order,
        divide_map=config.divide_map,
    )
