"""What a recipe says of its network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from dermlens.section import Section

Dropout = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(Section):
    """One member of the family.

    Attributes:
        backbone: a row of the table of backbones; `dermlens models` lists them.
        cut: where it is cut: `paper` is where the authors' code really cuts, `full` is the last feature
            map, `plain` is the uncut network with a linear layer on its 1000 logits (the paper's Table 6).
        weights: what the backbone starts from: `none` (random), `hub` (ImageNet, downloaded by timm or
            torchvision), or the path of a safetensors file of the uncut backbone.
        attention: the Soft-Attention kernel: `corrected` sees all channels, `original` keeps the authors'
            axis mix-up (channels 0 to 2), `none` leaves the module out.
        heads: K, the attention heads.
        gamma: the learnable scalar of the paper's Eq. 1, which its code does not have.
        pool: what follows the 2×2 max-pool: `flatten` or global average, `gap`.
        dropout: before the last layer.
        metadata: the metadata branch, a row of its registry.
    """

    backbone: str = "mobilenet_v3_small"
    cut: Literal["paper", "full", "plain"] = "full"
    weights: str = "none"
    attention: Literal["none", "original", "corrected"] = "corrected"
    heads: PositiveInt = 16
    gamma: bool = False
    pool: Literal["flatten", "gap"] = "flatten"
    dropout: Dropout = 0.5
    metadata: str = "paper"
