"""The methods, a row each: a new one is a function in a file of its own and a row here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dermlens.errors import UserError, nearest
from dermlens.explain.attention import attention
from dermlens.explain.evidence import contrast, evidence
from dermlens.explain.grad_cam import grad_cam
from dermlens.explain.heat import Heat, Metadata, Pixels
from dermlens.explain.kernel_shap import kernel_shap
from dermlens.explain.occlusion import occlusion
from dermlens.models.head import MapHead
from dermlens.models.saved import SavedModel

Draw = Callable[[SavedModel, Pixels, Metadata, int], Heat]


def _no_attention(saved: SavedModel) -> str:
    return "" if saved.config.attention != "none" else "the model has no Soft-Attention"


def _no_map(saved: SavedModel) -> str:
    return "" if isinstance(saved.model.head, MapHead) else "the model has no feature map"


def _no_linear_map(saved: SavedModel) -> str:
    head = saved.model.head
    if isinstance(head, MapHead) and head.tail is not None:
        return "the model goes on behind its feature map by more than one linear layer"
    return _no_map(saved)


def _fits_all(saved: SavedModel) -> str:
    del saved
    return ""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to explain.

    Attributes:
        draw: saved model, uint8 square (S, S, 3), encoded metadata, class index → `Heat`.
        about: what its heat is, in a line.
        why_not: why it cannot explain a model; empty where it can.
        signed: whether it says what speaks against the class too.
    """

    draw: Draw
    about: str
    why_not: Callable[[SavedModel], str] = _fits_all
    signed: bool = True


METHODS: dict[str, Method] = {
    "attention": Method(attention, "where Soft-Attention looks, for any class", _no_attention, signed=False),
    "evidence": Method(evidence, "what each position adds to the score, exactly", _no_linear_map),
    "contrast": Method(contrast, "evidence less that for the other classes", _no_linear_map),
    "grad_cam": Method(grad_cam, "Grad-CAM, what speaks for the class", _no_map, signed=False),
    "occlusion": Method(occlusion, "how the score falls where a window is blurred"),
    "kernel_shap": Method(kernel_shap, "Shapley values of patches, age, sex and site"),
}


def choose(saved: SavedModel, wanted: Sequence[str]) -> list[str]:
    """The methods that a person asked for, or all that fit the model.

    Raises:
        UserError: one is not known, or does not fit.
    """
    for name in wanted:
        if name not in METHODS:
            raise UserError(f"--method {name} is not known{nearest(name, METHODS)}")
        if reason := METHODS[name].why_not(saved):
            raise UserError(f"--method {name}: {reason}; leave it out")
    return list(dict.fromkeys(wanted)) or [name for name, row in METHODS.items() if not row.why_not(saved)]
