"""The metadata of Gessert et al. 2020 ([10]) as their code has them: eleven numbers, blanked by the field.

Age standardised, sex and site one-hot without a place for what is missing: that is zeros. A missing age is −5
in their code and 0 in their article. In training each of the three is made missing with probability 0.1.
Then two layers of 256 as `dermlens.models.metadata_branch.GessertBranch` has them. B batch, M metadata width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dermlens.documents import Section
from dermlens.errors import UserError
from dermlens.models.metadata_branch import GessertBranch
from dermlens.plugins import plugin
from dermlens.predict.metadata import DefaultMetadata

NAMES = DefaultMetadata.names
FIELDS = tuple(
    tuple(name for name in NAMES if name.startswith(f"{field}_") and not name.endswith("_missing"))
    for field in ("age", "sex", "site")
)


class GessertHeadConfig(Section):
    """Attributes:
    missing_age: what stands for it, in standard deviations from the mean.
    """

    missing_age: float = -5.0


@plugin("metadata_branch", GessertHeadConfig)
class GessertHead(GessertBranch):
    """For `model.metadata: related.gessert_head:GessertHead`, with `data.metadata: default`.

    Args:
        meta_width: of the encoder `default`.
        channels: of the map.
        missing_age: see `GessertHeadConfig`.

    Raises:
        UserError: the metadata are another encoder's.
    """

    column_K: Tensor
    field_K: Tensor

    def __init__(self, meta_width: int, channels: int, missing_age: float = -5.0) -> None:
        if meta_width != len(NAMES):
            raise UserError(
                f"model.metadata GessertHead takes data.metadata default, not {meta_width} numbers"
            )
        names = [name for field in FIELDS for name in field]
        super().__init__(len(names), channels)
        self.missing_age = missing_age
        columns = torch.tensor([NAMES.index(name) for name in names])
        fields = torch.tensor([place for place, field in enumerate(FIELDS) for _ in field])
        self.register_buffer("column_K", columns, persistent=False)
        self.register_buffer("field_K", fields, persistent=False)

    def inputs(self, meta_BM: Tensor, gone_B3: Tensor) -> Tensor:
        """Age, sex and site of each patient, (B, 11).

        Args:
            meta_BM: as the encoder `default` makes it.
            gone_B3: bool, which of the three are blanked.
        """
        missing_B = (meta_BM[:, NAMES.index("age_missing")] > 0) | gone_B3[:, 0]
        kept_BK = torch.where(gone_B3[:, self.field_K], 0.0, meta_BM[:, self.column_K])
        age_B = torch.where(missing_B, self.missing_age, kept_BK[:, 0])
        return torch.cat([age_B[:, None], kept_BK[:, 1:]], dim=1)

    def forward(self, meta_BM: Tensor) -> Tensor:
        gone_B3 = torch.zeros(len(meta_BM), 3, dtype=torch.bool, device=meta_BM.device)
        if self.training:
            gone_B3 = torch.rand(len(meta_BM), 3, device=meta_BM.device) < self.missing
        features_BD: Tensor = self.layers(self.inputs(meta_BM, gone_B3))
        return features_BD
