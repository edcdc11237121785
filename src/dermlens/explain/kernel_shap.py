"""Kernel SHAP over patches of the image and over age, sex and site, by Captum.

S side of the square, M metadata width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dermlens.data.metadata import FIELDS
from dermlens.errors import require
from dermlens.explain.baselines import blurred
from dermlens.explain.heat import Heat, Metadata, Pixels
from dermlens.explain.network import BATCH, many, to_tensors
from dermlens.models.saved import SavedModel

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
    seed: int = 0,
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
        seed: of the draw.

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
        torch.manual_seed(seed)
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
    told = {field: float(value_F[count + index]) for index, field in enumerate(known)}
    patient = {field: told.get(field, 0.0) for field in FIELDS} if saved.encoder.width else {}
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
