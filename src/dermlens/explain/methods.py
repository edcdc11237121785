"""The methods, a row each: a new one is a function and a row of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from dermlens.errors import UserError, nearest, require
from dermlens.explain.network import BATCH, Heat, Metadata, Pixels, look, many, spread, to_tensors
from dermlens.models import classifier as exact
from dermlens.models.classifier import MapHead
from dermlens.models.saved import SavedModel
from dermlens.predict.metadata import FIELDS

# What stands in the place of a part of an image that is taken away.
#
# Nothing is really nothing: each stand-in is a choice, and explanations differ with it. `blurred` takes away
# structure and leaves colours where they are; `skin` takes away both.
#
# S side of the square, C colours.


BLUR = 1 / 12
"""Standard deviation of the blur, in sides: lesions' borders, nets and dots go, their shade stays."""
FRAME = 1 / 10
"""Breadth of the frame that counts as skin, in sides; lesions are photographed in the middle."""


def blurred(image_SSC: Pixels) -> Pixels:
    """The square out of focus."""
    filtered = Image.fromarray(image_SSC).filter(ImageFilter.GaussianBlur(BLUR * len(image_SSC)))
    return np.array(filtered, dtype=np.uint8)


def skin(image_SSC: Pixels) -> Pixels:
    """A square of one colour: the median of the frame, which is skin in most pictures."""
    side = len(image_SSC)
    width = max(1, round(FRAME * side))
    frame_SS = np.ones((side, side), dtype=bool)
    frame_SS[width : side - width, width : side - width] = False
    colour_C = np.median(image_SSC[frame_SS], axis=0).round().astype(np.uint8)
    return np.broadcast_to(colour_C, image_SSC.shape).copy()


# Soft-Attention's own maps: where the module looks, whatever the class.
#
# K heads, h × w positions, S side of the square.


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


# Exact contributions of positions to the score; see `dermlens.models.classifier`.


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


# Grad-CAM on the backbone's map, by Captum.


def grad_cam(saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, target: int) -> Heat:
    """The channels of the backbone's map, weighted by their mean gradient, where they speak for the class.

    Source: Selvaraju et al. 2017, Eq. 1 and 2, the ReLU among them: what speaks against a class is 0.

    Args:
        saved: a model with a map.
        image_SSC: uint8, the square that the network sees.
        meta_M: encoded metadata.
        target: class index.

    Returns:
        Heat of no scale of its own: its sum is nothing.

    Raises:
        UserError: Captum is not installed.
    """
    captum = require("captum.attr", "explain")
    x_1CSS, meta_1M = to_tensors(image_SSC, meta_M)
    layer = captum.LayerGradCam(lambda x_BCSS, meta_BM: saved.model(x_BCSS, meta_BM)[0], saved.model.backbone)
    found = layer.attribute(x_1CSS, target=target, additional_forward_args=(meta_1M,), relu_attributions=True)
    return Heat(spread(found[0, 0].detach().numpy().astype(np.float64), saved.size))


# Occlusion: how the score falls when a window of the image is out of focus, by Captum.


WINDOW, STRIDE = 4, 8
"""The side divided by the window's, and by the step's: 7 × 7 windows, each overlapping its neighbours."""


def occlusion(saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, target: int) -> Heat:
    """The fall of the score, averaged over the windows that hold a pixel.

    Source: Zeiler and Fergus 2014; the window is blurred (`dermlens.explain.methods.blurred`), not grey,
    since a grey square is itself something to see.

    Args:
        saved: any model.
        image_SSC: uint8, the square that the network sees.
        meta_M: encoded metadata.
        target: class index.

    Returns:
        Heat in units of the score. Windows overlap, so it does not add up.

    Raises:
        UserError: Captum is not installed.
    """
    captum = require("captum.attr", "explain")
    network = many(saved)
    x_1CSS, meta_1M = to_tensors(image_SSC, meta_M)
    stand_in_1CSS, _ = to_tensors(blurred(image_SSC), meta_M)

    def score(x_BCSS: Tensor, meta_BM: Tensor) -> Tensor:
        out_B: Tensor = network(x_BCSS, meta_BM)[0][:, target]
        return out_B

    with torch.inference_mode():
        found = captum.Occlusion(score).attribute(
            x_1CSS,
            sliding_window_shapes=(3, saved.size // WINDOW, saved.size // WINDOW),
            strides=(3, saved.size // STRIDE, saved.size // STRIDE),
            baselines=stand_in_1CSS,
            additional_forward_args=(meta_1M,),
            perturbations_per_eval=BATCH,
        )
    return Heat(found[0, 0].numpy().astype(np.float64))


# Kernel SHAP over patches of the image and over age, sex and site, by Captum.
#
# S side of the square, M metadata width.


PATCHES = 25
"""Superpixels that are asked for; SLIC may make a few fewer."""
SAMPLES = 200


def kernel_shap(
    saved: SavedModel,
    image_SSC: Pixels,
    meta_M: Metadata,
    target: int,
    *,
    samples: int = SAMPLES,
) -> Heat:
    """Shapley values of the score, estimated: patches against the blurred image, the patient against nobody.

    Source: Lundberg and Lee 2017, section 4.1, for the estimate; Achanta et al. 2012 for the patches. A patch
    that is absent is blurred; an age, sex or site that is absent is encoded as missing. One that is missing
    anyway contributes 0 and is left out of the draw.

    Args:
        saved: any model.
        image_SSC: uint8, the square that the network sees.
        meta_M: encoded metadata.
        target: class index.
        samples: coalitions drawn; the estimate's noise falls with their root.

    Returns:
        Heat that adds up: a patch's value spread over its pixels, its rest the score of the blurred image of
        nobody.

    Raises:
        UserError: Captum or scikit-image is not installed.
    """
    captum = require("captum.attr", "explain")
    network = many(saved)
    patch_SS = patches(image_SSC)
    x_1CSS, meta_1M = to_tensors(image_SSC, meta_M)
    stand_in_1CSS, nobody_1M = to_tensors(blurred(image_SSC), saved.encoder.missing)
    known = _known(saved, meta_M)
    count = int(patch_SS.max()) + 1

    def score(x_BCSS: Tensor, meta_BM: Tensor) -> Tensor:
        out_B: Tensor = network(x_BCSS, meta_BM)[0][:, target]
        return out_B

    # what does not differ from its stand-in may belong to any feature: here, to the first patch
    feature_1M = torch.zeros_like(meta_1M, dtype=torch.long)
    for index, field in enumerate(known):
        feature_1M[0, saved.encoder.fields[field]] = count + index
    inputs, stand_ins = (x_1CSS, meta_1M), (stand_in_1CSS, nobody_1M)
    features = (torch.from_numpy(patch_SS)[None, None], feature_1M)
    if not saved.encoder.width:  # Captum takes no empty input
        inputs, stand_ins, features = inputs[:1], stand_ins[:1], features[:1]  # type: ignore[assignment]
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        explainer = captum.KernelShap(
            score if saved.encoder.width else lambda x_BCSS: score(x_BCSS, x_BCSS.new_empty(len(x_BCSS), 0))
        )
        value_F = explainer.attribute(
            inputs,
            baselines=stand_ins,
            feature_mask=features,
            n_samples=samples,
            perturbations_per_eval=BATCH,
            return_input_shape=False,
        )
        rest = float(score(stand_in_1CSS, nobody_1M))
    value_F = value_F.flatten().double().numpy()
    area_F = np.bincount(patch_SS.ravel(), minlength=count)
    heat_SS = (value_F[:count] / area_F)[patch_SS]
    given = {field: float(value_F[count + index]) for index, field in enumerate(known)}
    patient = {field: given.get(field, 0.0) for field in FIELDS} if saved.encoder.width else {}
    return Heat(heat_SS, patient, rest)


def patches(image_SSC: Pixels) -> npt.NDArray[np.int64]:
    """Superpixels of the square, numbered from 0 without a gap. Raises: UserError without scikit-image."""
    segmentation = require("skimage.segmentation", "explain")
    labels_SS = segmentation.slic(
        image_SSC, n_segments=PATCHES, compactness=10, start_label=0, channel_axis=-1
    )
    numbered = np.unique(labels_SS, return_inverse=True)[1]
    return numbered.reshape(labels_SS.shape).astype(np.int64)


def _known(saved: SavedModel, meta_M: Metadata) -> list[str]:
    """The fields that differ from a missing one."""
    nobody_M = saved.encoder.missing if saved.encoder.width else meta_M
    return [
        field
        for field, columns in saved.encoder.fields.items()
        if not np.array_equal(meta_M[columns], nobody_M[columns])
    ]


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
