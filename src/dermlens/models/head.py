"""What follows the backbone: attention, pooling, metadata, one linear layer.

B batch, C classes in `logits_BC`, channels in `x_BCHW`, H × W positions, M metadata width, D features.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermlens.models.keras_start import start_dense
from dermlens.models.metadata_branch import MetadataBranch, PaperBranch
from dermlens.models.soft_attention import SoftAttention
from dermlens.models.vgg16_authors import VGG16Tail

Intermediates = dict[str, Tensor]


class LogitsHead(nn.Module):
    """A linear layer on the 1000 logits of an uncut network: the MobileNetV3-Large of the paper's Table 6."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
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

        The features are the image's, without those of the metadata branch: how strange a picture is does not
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
