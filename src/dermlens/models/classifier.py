"""The classifier: backbone, attention, pooling, metadata, one linear layer, and its exact evidence."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from dermlens.errors import UserError
from dermlens.models.architectures import Normalize, VGG16Tail, start_dense
from dermlens.models.config import ModelConfig, NetworkConfig
from dermlens.models.cuts import build_backbone, feature_shape
from dermlens.models.metadata_branch import MetadataBranch, PaperBranch, build_branch
from dermlens.models.soft_attention import SoftAttention
from dermlens.models.table import HALF, ChannelOrder, Normalization, row_of

# B batch, C classes in `logits_BC` and channels in `x_BCHW`, H × W positions, K heads, M metadata width,
# D features.


Intermediates = dict[str, Tensor]


class LogitsHead(nn.Module):
    """A linear layer on the 1000 logits of an uncut network: the MobileNetV3-Large of the paper's Table 6."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.features = width
        self.linear = nn.Linear(width, num_classes)

    def start_as_keras(self) -> None:
        """Draw the weights as Keras does."""
        start_dense(self.linear)

    def forward(self, features_BD: Tensor, meta_BM: Tensor | None) -> tuple[Tensor, Intermediates]:
        del meta_BM
        return self.linear(features_BD), {"features_BD": features_BD}


class MapHead(nn.Module):
    """The paper's Fig. 7: max-pool the map and the attended map, join, ReLU, dropout, flatten, classify.

    Without attention there is no max-pool either: the map goes to ReLU, dropout and flatten as it is. That is
    the network without Soft-Attention whose counts the paper's reference [14] printed.

    Args:
        shape: (channels, height, width) of the map.
        num_classes: how many logits.
        attention: Soft-Attention, or none.
        branch: the metadata branch, or none.
        pool: `flatten`, or global average, `gap`.
        dropout: probability.
        tail: `vgg16` goes on with the authors' fifth block and dense layers instead of flattening.

    Attributes:
        features: how many numbers the last layer sees of the image, D.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        *,
        attention: SoftAttention | None,
        branch: MetadataBranch | None,
        pool: Literal["flatten", "gap"],
        dropout: float,
        tail: Literal["vgg16"] | None,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.branch = branch
        self.modulates = branch is not None and type(branch).modulate is not MetadataBranch.modulate
        self.dropout = nn.Dropout(dropout)
        self.global_average = pool == "gap"
        self.max_pool = attention is not None or tail is not None  # VGG16 pools there anyway
        channels, height, width = shape
        if attention is not None:
            channels *= 2
        if self.max_pool:
            height, width = -(-height // 2), -(-width // 2)
        self.tail = VGG16Tail(channels, height) if tail == "vgg16" else None
        if self.tail is not None:
            features = self.tail.width
        elif self.global_average:
            features = channels
        else:
            features = channels * height * width
        self.features = features
        self.linear = nn.Linear(features + (branch.width if branch is not None else 0), num_classes)

    def start_as_keras(self) -> None:
        """Draw the weights of the authors' layers as Keras does; Soft-Attention's always are."""
        start_dense(self.linear)
        if isinstance(self.branch, PaperBranch):
            start_dense(self.branch.linear)
        if self.tail is not None:
            for layer in self.tail.dense:
                if isinstance(layer, nn.Linear):
                    start_dense(layer)

    def forward(self, x_BCHW: Tensor, meta_BM: Tensor | None) -> tuple[Tensor, Intermediates]:
        """logits_BC, and `features_BD`, `last_BCHW` where there is no tail, and `alpha_BKHW` with attention.

        The features are the image's, without those of the metadata branch: how unusual a picture is does not
        depend on what is known of the patient. A branch that reshapes the map leaves theirs alone; only in
        training, where nobody reads them, are they of the reshaped one.

        Raises:
            ValueError: there is a metadata branch and no metadata.
        """
        if self.branch is None:
            found = self._look(x_BCHW)
            return self.linear(found["features_BD"]), found
        if meta_BM is None:
            raise ValueError("this network has a metadata branch and got no metadata")
        found = self._look(self.branch.modulate(x_BCHW, meta_BM))
        logits_BC = self.linear(torch.cat([found["features_BD"], self.branch(meta_BM)], dim=1))
        if self.modulates and not self.training:
            found["features_BD"] = self._look(x_BCHW)["features_BD"]
        return logits_BC, found

    def _look(self, x_BCHW: Tensor) -> Intermediates:
        """The features of a map, and what was attended to in it."""
        found: Intermediates = {}
        maps = [x_BCHW]
        if self.attention is not None:
            attended_BCHW, found["alpha_BKHW"] = self.attention(x_BCHW)
            maps.append(attended_BCHW)
        if self.max_pool:
            maps = [F.max_pool2d(one_BCHW, 2, ceil_mode=True) for one_BCHW in maps]
        x_BCHW = self.dropout(F.relu(torch.cat(maps, dim=1)))
        if self.tail is not None:
            found["features_BD"] = self.tail(x_BCHW)
            return found
        found["last_BCHW"] = x_BCHW
        found["features_BD"] = x_BCHW.mean(dim=(2, 3)) if self.global_average else x_BCHW.flatten(1)
        return found


class LesionClassifier(nn.Module):
    """One member of the family; `build_classifier` makes it.

    Attributes:
        normalize: of the pixels.
        backbone: the cut network.
        head: all that follows it.
        feature_shape: (channels, height, width) of the backbone's output; (1000,) for the plain classifier.
        size: side of the square images that it was built for.
        divide_map: what the map at the cut is divided by.
        watched: a layer of the backbone whose map is described at the end of `features_BD`; empty for none.
            It is looked at in evaluation mode alone, and holds no weights of its own.
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
        self.watched = ""

    def forward(self, x_BCHW: Tensor, meta_BM: Tensor | None = None) -> tuple[Tensor, Intermediates]:
        """Classify.

        Args:
            x_BCHW: RGB pixels of 0 to 255, uint8 or floating; normalisation is inside.
            meta_BM: encoded metadata, for networks with a metadata branch; others do not look at it.

        Returns:
            logits_BC, and intermediates: `features_BD`, what the last layer sees of the image (not of the
            patient), followed by means and deviations of a watched layer; `last_BCHW`, the map
            that was pooled or flattened to them, where there is one; and with attention `alpha_BKHW`, the
            maps, each of sum 1.

        Raises:
            ValueError: the network has a metadata branch and got no metadata.
        """
        if self.watched and not self.training:
            map_BCHW, early_BE = self._watch(self.normalize(x_BCHW))
        else:
            map_BCHW, early_BE = self.backbone(self.normalize(x_BCHW)), None
        if self.divide_map != 1.0:
            map_BCHW = map_BCHW / self.divide_map
        logits_BC, found = self.head(map_BCHW, meta_BM)
        if early_BE is not None:
            found["features_BD"] = torch.cat([found["features_BD"], early_BE], dim=1)
        return logits_BC, found

    def _watch(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The backbone's map, and what the watched layer's channels are like."""
        described: list[Tensor] = []
        layer = self.backbone.get_submodule(self.watched)
        # at once: layers that follow may write over the map
        handle = layer.register_forward_hook(lambda _layer, _given, out: described.append(describe_map(out)))
        try:
            return self.backbone(x_BCHW), described[-1]
        finally:
            handle.remove()


def describe_map(x_BCHW: Tensor) -> Tensor:
    """Means over the positions, and standard deviations, of the channels of a map, (B, 2C)."""
    mean_BC = x_BCHW.mean(dim=(2, 3))
    centred_BCHW = x_BCHW - mean_BC[:, :, None, None]
    return torch.cat([mean_BC, (centred_BCHW.square().mean(dim=(2, 3)) + 1e-6).sqrt()], dim=1)


SHARE_OF_SIDE = 8
"""An early map's side is this part of the image's: it shows textures and marks, hardly what they make up."""


def early_layer(backbone: nn.Module, size: int) -> str:
    """The last layer whose map has an eighth of the image's side; empty where there is none.

    Args:
        backbone: as of a `LesionClassifier`, on the CPU; it is run once, on an empty image.
        size: the image's side in pixels.

    Returns:
        Its name among the backbone's modules.
    """
    seen: list[str] = []
    side = -(-size // SHARE_OF_SIDE)

    def note(name: str, out: Any) -> None:
        if isinstance(out, Tensor) and out.shape[2:] == (side, side):
            seen.append(name)

    handles = [
        layer.register_forward_hook(lambda _layer, _given, out, name=name: note(name, out))
        for name, layer in backbone.named_modules()
        if name and not any(layer.children())
    ]
    was_training = backbone.training
    try:
        with torch.inference_mode():
            backbone.eval()(torch.zeros(1, 3, size, size))
    finally:
        backbone.train(was_training)
        for handle in handles:
            handle.remove()
    return seen[-1] if seen else ""


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
        settings=config.backbone_settings,
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
    network = NetworkConfig.of(config)
    row = row_of(config.backbone)
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
        if network.kernel is not None:
            attention = SoftAttention(shape[0], config.heads, kernel=network.kernel, gamma=config.gamma)
        head = MapHead(
            shape,
            num_classes,
            attention=attention,
            branch=build_branch(config.metadata, meta_width, shape[0], config.metadata_settings),
            pool=config.pool,
            dropout=config.dropout,
            # the authors' VGG16 is cut in its middle and goes on behind the attention
            tail=row.tail if config.cut == "paper" else None,
        )
    if config.resolved_conventions == "keras":
        head.start_as_keras()
    own = row.input_normalization(config.resolved_form)
    pixels = HALF if network.normalization == "half" else own
    return LesionClassifier(
        pixels,
        backbone,
        head,
        feature_shape=shape,
        size=size,
        channel_order=network.channel_order,
        divide_map=config.divide_map,
    )


# What each position of the last map adds to each logit: exact, as all that follows the map is linear.
#
# Global averaging and flattening are linear and so is the last layer: a logit is a sum over positions, plus
# what the metadata branch adds, and the bias. For global averaging this is the class activation map of Zhou
# and others ("Learning Deep Features for Discriminative Localization", CVPR 2016), over the number of
# positions.


def evidence(head: MapHead | LogitsHead, last_BCHW: Tensor) -> Tensor:
    """Contributions of positions to logits.

    Args:
        head: in evaluation mode, without a tail.
        last_BCHW: the intermediate of that name.

    Returns:
        evidence_BCHW: its sum over positions, what the metadata branch adds, and the bias are the logit.

    Raises:
        ValueError: the head goes on behind the map by more than one linear layer.
    """
    if isinstance(head, LogitsHead) or head.tail is not None:
        raise ValueError("a logit of this network is no sum over positions of a map")
    channels, height, width = last_BCHW.shape[1:]
    if head.global_average:
        weight_CD = head.linear.weight[:, :channels]
        maps_BHWC = last_BCHW.permute(0, 2, 3, 1) @ weight_CD.T
        return maps_BHWC.permute(0, 3, 1, 2) / (height * width)
    weight_CDHW = head.linear.weight[:, : channels * height * width].view(-1, channels, height, width)
    return (last_BCHW.unsqueeze(1) * weight_CDHW).sum(dim=2)
