"""Train, evaluate, explain and ship classifiers of dermoscopic skin-lesion images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dermlens.predict.predictor import Predictor


__version__ = "0.1.0"


def load(model: Path | str = "shipped") -> Predictor:
    """A model that answers, without torch.

    Args:
        model: a folder that `dermlens export` wrote, or `shipped` for the one that comes with dermlens.

    Raises:
        UserError: there is no such model, or its files are damaged.
    """
    from dermlens.predict.predictor import Predictor

    return Predictor.open(model)
