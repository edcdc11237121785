"""Train, evaluate, explain and ship classifiers of dermoscopic skin-lesion images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dermlens.evaluation.evaluate import evaluate_run as evaluate
    from dermlens.explain.explained import explain_image
    from dermlens.predict.predictor import Predictor, load
    from dermlens.recipe import Recipe
    from dermlens.runs import Run
    from dermlens.training.fit import fit as train

__version__ = "0.1.0"
__all__ = ["Predictor", "Recipe", "Run", "evaluate", "explain_image", "load", "train"]

_PLACES = {
    "Predictor": "predict.predictor:Predictor",
    "Recipe": "recipe:Recipe",
    "Run": "runs:Run",
    "evaluate": "evaluation.evaluate:evaluate_run",
    "explain_image": "explain.explained:explain_image",
    "load": "predict.predictor:load",
    "train": "training.fit:fit",
}


def __getattr__(name: str) -> Any:
    """What the package offers, imported when it is asked for: predicting needs neither torch nor pandas."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(f"dermlens.{module}"), attribute)
