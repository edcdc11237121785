"""What every explanation gives: a heat map on the square that the network saw, and what the patient adds.

S side of the square in pixels, K attention heads, h × w cells of a coarse map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dermlens.metrics import Floats

Pixels = npt.NDArray[np.uint8]
Metadata = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heat:
    """An explanation of the score (logit, before calibration) of one class.

    Attributes:
        heat_SS: what each pixel adds; more is more. Methods that give shares and not additions say so.
        patient: what age, sex and site add, each against its being missing; empty where a method is blind
            to them.
        rest: for methods that add up: `heat_SS.sum() + sum(patient.values()) + rest` is the score.
        heads_KSS: the maps that were summed, where there are several.
    """

    heat_SS: Floats
    patient: Mapping[str, float] = field(default_factory=dict)
    rest: float | None = None
    heads_KSS: Floats | None = None


def spread(map_hw: npt.NDArray[np.floating], side: int) -> Floats:
    """A coarse map on the pixels of the square: bilinear, each cell's value divided among its pixels.

    Args:
        map_hw: (h, w), or (K, h, w) for several.
        side: S, in pixels.

    Returns:
        (S, S) or (K, S, S) in double precision. Where h and w divide S the sum is kept to rounding.
    """
    maps_Khw = torch.from_numpy(np.array(map_hw, dtype=np.float64)).reshape(-1, *map_hw.shape[-2:])
    height, width = map_hw.shape[-2:]
    large_KSS = F.interpolate(maps_Khw[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
    out: Floats = (large_KSS * (height * width / side**2)).numpy()
    return out.reshape(*map_hw.shape[:-2], side, side)
