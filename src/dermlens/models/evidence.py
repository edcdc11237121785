"""What each position of the last map adds to each logit: exact, as all that follows the map is linear.

Global averaging and flattening are linear and so is the last layer: a logit is a sum over positions, plus
what the metadata branch adds, and the bias. For global averaging this is the class activation map of Zhou and
others ("Learning Deep Features for Discriminative Localization", CVPR 2016), over the number of positions.

B batch, C classes in `evidence_BCHW` and channels in `last_BCHW`, H × W positions.
"""

from __future__ import annotations

from torch import Tensor

from dermlens.models.head import LogitsHead, MapHead


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
