"""timm's model hub: safetensors, fetched once and then kept by the hub's own cache."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import timm
from huggingface_hub import constants, try_to_load_from_cache
from torch import Tensor

from dermlens.errors import UserError
from dermlens.models.pretrained.in_order import match_in_order
from dermlens.models.pretrained.registry import HUB

_SECONDS = 5.0


def from_hub(backbone: str, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """The hub's weights of a backbone.

    Args:
        backbone: a row of the table of backbones.
        known: the state dict of the uncut network, for names and shapes.

    Returns:
        The state dict of the uncut network.

    Raises:
        UserError: the hub cannot be reached, or does not send the weights.
    """
    source = HUB[backbone]
    cfg = timm.get_pretrained_cfg(source.model)
    assert cfg is not None, source.model
    cached = isinstance(try_to_load_from_cache(str(cfg.hf_hub_id), "model.safetensors"), str)
    try:
        if not cached:
            _probe()
        state = timm.create_model(source.model, pretrained=True).state_dict()
    except Exception as error:  # what a failed download raises differs by library and version
        raise UserError(
            f"model.weights hub: the weights {source.model} could not be downloaded"
            f" ({' '.join(str(error).split())[:120] or type(error).__name__});"
            " use weights=package (`dermlens weights` lists them), the path of a file, or weights=none"
        ) from error
    return match_in_order(state, known, source.model) if source.in_order else state


def _probe() -> None:
    """Find out in seconds whether the hub is there at all, before its client retries for a minute."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return  # behind a proxy nothing is reached directly
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    socket.create_connection((address.hostname or "", port), timeout=_SECONDS).close()
