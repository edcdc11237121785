"""Exact contributions of positions to the score; see `dermlens.models.evidence`."""

from __future__ import annotations

import torch

from dermlens.explain.heat import Heat, Metadata, Pixels, spread
from dermlens.explain.network import look
from dermlens.models import evidence as exact
from dermlens.models.saved import SavedModel


def evidence(saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, target: int) -> Heat:
    """What each position of the last map adds to the score of a class.

    Args:
        saved: a model whose head is linear behind the map.
        image_SSC: uint8, the square that the network sees.
        meta_M: encoded metadata.
        target: class index.

    Returns:
        Heat that adds up: its rest is the bias and what the metadata branch adds.
    """
    return _mapped(saved, image_SSC, meta_M, target, against_others=False)


def contrast(saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, target: int) -> Heat:
    """Evidence for a class less the mean of that for the others.

    What raises all scores alike raises no probability, and is gone here; as `evidence` else, of the score
    less the mean of the other scores.
    """
    return _mapped(saved, image_SSC, meta_M, target, against_others=True)


@torch.inference_mode()
def _mapped(
    saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, target: int, *, against_others: bool
) -> Heat:
    logits_1C, found = look(saved, image_SSC, meta_M)
    score_C = logits_1C[0].double()
    map_Chw = exact.evidence(saved.model.head, found["last_BCHW"])[0].double()
    map_hw, score = map_Chw[target], score_C[target]
    if against_others:
        others = len(score_C) - 1
        map_hw = map_hw - (map_Chw.sum(0) - map_hw) / others
        score = score - (score_C.sum() - score) / others
    heat_SS = spread(map_hw.numpy(), saved.size)
    return Heat(heat_SS, rest=float(score) - float(heat_SS.sum()))
