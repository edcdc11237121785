"""Metadata that go missing at random, so that a network learns to do without.

In HAM10000 a missing age says something of the class: 45 of 57 are nevi. Here each patient's metadata, and
each field by itself, is replaced by the encoding of a missing value, whatever the class: that it is missing
comes to say next to nothing. Gessert et al. 2020 (MethodsX 7:100864) blank each field with probability 0.1.

Shapes: B batch, M features, F fields.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dermlens.data.config import MetadataDropoutConfig
from dermlens.data.metadata import MetadataEncoder


class MetadataDropout:
    """Blanks metadata of a batch.

    Args:
        config: `augment.metadata_dropout` of a recipe.
        encoder: fitted; its encoding of a patient of whom nothing is known is what is put in.
        sources: names of the sources, in the order of `source_B`.
    """

    def __init__(self, config: MetadataDropoutConfig, encoder: MetadataEncoder, sources: Sequence[str]):
        own = [config.by_source.get(name, config) for name in sources]
        self.all_S, self.each_S = (
            torch.tensor([getattr(one, key) for one in own]) for key in ("all", "each")
        )
        self.missing_M = torch.from_numpy(encoder.missing)
        self.field_FM = torch.zeros(len(encoder.fields), encoder.width, dtype=torch.bool)
        for row, columns in enumerate(encoder.fields.values()):
            self.field_FM[row, columns] = True

    def __call__(self, meta_BM: Tensor, source_B: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Replace whole rows, and single fields of the others, by the encoding of missing values.

        Args:
            meta_BM: as the encoder makes it.
            source_B: places in `sources`.
            generator: none takes torch's own, of the CPU; draws depend on it and on the place in the batch.

        Returns:
            A new tensor.
        """
        fields = len(self.field_FM)
        device = torch.device("cpu") if generator is None else generator.device
        uniform_BF1 = torch.rand(len(meta_BM), fields + 1, generator=generator, device=device)
        all_B, each_B = (rate_S.to(device)[source_B.to(device)] for rate_S in (self.all_S, self.each_S))
        gone_BF = (uniform_BF1[:, :fields] < each_B[:, None]) | (uniform_BF1[:, fields:] < all_B[:, None])
        gone_BM = (gone_BF[:, :, None] & self.field_FM.to(device)).any(1).to(meta_BM.device)
        return torch.where(gone_BM, self.missing_M.to(meta_BM), meta_BM)
