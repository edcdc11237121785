"""What a network does with the metadata vector: a registry of branches.

B batch, M metadata width, C channels of the feature map. One line on each: table.METADATA_BRANCHES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermlens.errors import UserError
from dermlens.models.table import JOINED
from dermlens.plugins import resolved


class MetadataBranch(nn.Module):
    """The base: a branch may reshape the feature map, and may add features to the pooled image's.

    Attributes:
        width: how many features it adds.
    """

    width: int = 0

    def modulate(self, x_BCHW: Tensor, meta_BM: Tensor) -> Tensor:
        """The feature map, in the light of the metadata; the map itself by default."""
        del meta_BM
        return x_BCHW

    def forward(self, meta_BM: Tensor) -> Tensor:
        """Features of shape (B, width); none by default."""
        return meta_BM.new_empty(meta_BM.shape[0], 0)


class PaperBranch(MetadataBranch):
    """Linear(M → 4096), ReLU: the authors' branch, without batch norm or dropout."""

    def __init__(self, meta_width: int, channels: int) -> None:
        super().__init__()
        del channels
        self.width = 4096
        self.linear = nn.Linear(meta_width, self.width)

    def forward(self, meta_BM: Tensor) -> Tensor:
        return F.relu(self.linear(meta_BM))


class GessertBranch(MetadataBranch):
    """Two layers of 256, each with batch norm, ReLU and dropout 0.4; a tenth of the inputs is dropped.

    Gessert et al. 2020, "Skin lesion classification using ensembles of multi-resolution EfficientNets with
    meta data": in training each property is made missing with probability 0.1. Here an input is zeroed: that
    empties a one-hot group, of which one entry alone is not zero, and is the mean of a standardised number.
    Their further layer of 1024 after the concatenation is left out, so that branches differ in nothing else.
    """

    def __init__(self, meta_width: int, channels: int) -> None:
        super().__init__()
        del channels
        self.width = 256
        self.missing = 0.1
        layers: list[nn.Module] = []
        for inputs in (meta_width, self.width):
            layers += [nn.Linear(inputs, self.width), BatchNorm(self.width), nn.ReLU(), nn.Dropout(0.4)]
        self.layers = nn.Sequential(*layers)

    def forward(self, meta_BM: Tensor) -> Tensor:
        if self.training:  # dropout would scale up what it keeps; these are facts and keep their size
            meta_BM = meta_BM * (torch.rand_like(meta_BM) >= self.missing)
        features_BD: Tensor = self.layers(meta_BM)
        return features_BD


class FiLM(MetadataBranch):
    """x · (1 + Δγ) + β, two numbers a channel, linear in the metadata (Perez et al. 2018); starts as x."""

    def __init__(self, meta_width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(meta_width, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def modulate(self, x_BCHW: Tensor, meta_BM: Tensor) -> Tensor:
        scale_BC, shift_BC = self.linear(meta_BM).chunk(2, dim=1)
        out_BCHW: Tensor = x_BCHW * (1 + scale_BC[:, :, None, None]) + shift_BC[:, :, None, None]
        return out_BCHW


class MetaBlock(MetadataBranch):
    """σ(tanh(f(meta) · x) + g(meta)), f and g being Linear(M → C) and batch norm.

    Pacheco and Krohling 2021, "An attention-based mechanism to combine images and metadata in deep learning
    models applied to skin cancer classification", and their code.
    """

    def __init__(self, meta_width: int, channels: int) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(meta_width, channels), BatchNorm(channels))
        self.g = nn.Sequential(nn.Linear(meta_width, channels), BatchNorm(channels))

    def modulate(self, x_BCHW: Tensor, meta_BM: Tensor) -> Tensor:
        scale_BC, shift_BC = self.f(meta_BM), self.g(meta_BM)
        gated_BCHW = torch.tanh(x_BCHW * scale_BC[:, :, None, None])
        return torch.sigmoid(gated_BCHW + shift_BC[:, :, None, None])


class BatchNorm(nn.BatchNorm1d):
    """Batch norm that takes a batch of one, as an epoch may end with, by its running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) == 1:
            mean, variance = self.running_mean, self.running_var
            return F.batch_norm(input, mean, variance, self.weight, self.bias, eps=self.eps)
        out: Tensor = super().forward(input)
        return out


class JoinedBranch(MetadataBranch):
    """The features of several branches, one behind the other.

    Args:
        members: branches that leave the map as it is; none for a network without metadata.
    """

    def __init__(self, members: Sequence[MetadataBranch | None]) -> None:
        super().__init__()
        self.members = nn.ModuleList(branch or MetadataBranch() for branch in members)
        self.width = sum(branch.width for branch in members if branch is not None)

    def forward(self, meta_BM: Tensor) -> Tensor:
        return torch.cat([branch(meta_BM) for branch in self.members], dim=1)


BRANCHES: dict[str, type[MetadataBranch]] = {
    "paper": PaperBranch,
    "gessert": GessertBranch,
    "film": FiLM,
    "metablock": MetaBlock,
}


def build_branch(
    name: str, meta_width: int, channels: int, settings: Mapping[str, Any] | None = None
) -> MetadataBranch | None:
    """One branch of the registry or from outside, or none. Raises: UserError, as `resolve`."""
    if name == "none":
        return None
    if name in BRANCHES:
        return BRANCHES[name](meta_width, channels)
    if JOINED in name:
        members = [build_branch(part, meta_width, channels) for part in name.split(JOINED)]
        if any(branch and type(branch).modulate is not MetadataBranch.modulate for branch in members):
            raise UserError(f"model.metadata {name}: a branch that reshapes the map is of one network")
        return JoinedBranch(members)
    found, given = resolved("metadata_branch", name, settings or {}, "model.metadata")
    branch = found.function(meta_width, channels, **given)
    if not isinstance(branch, MetadataBranch):
        raise UserError(f"model.metadata {name} made a {type(branch).__name__}, which is no MetadataBranch")
    return branch
