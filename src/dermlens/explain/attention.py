"""Soft-Attention's own maps: where the module looks, whatever the class.

K heads, h × w positions, S side of the square.
"""

from __future__ import annotations

from dermlens.explain.heat import Heat, Metadata, Pixels, spread
from dermlens.explain.network import look
from dermlens.models.saved import SavedModel


def attention(saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, target: int) -> Heat:
    """α summed over the heads, as the network applies it, and head by head.

    Args:
        saved: a model with Soft-Attention.
        image_SSC: uint8, the square that the network sees.
        meta_M: encoded metadata.
        target: class index, which attention does not depend on.

    Returns:
        Shares and not additions: each head sums to 1.
    """
    del target
    alpha_Khw = look(saved, image_SSC, meta_M)[1]["alpha_BKHW"][0].double().numpy()
    heads_KSS = spread(alpha_Khw, saved.size)
    return Heat(heads_KSS.sum(axis=0), heads_KSS=heads_KSS)
