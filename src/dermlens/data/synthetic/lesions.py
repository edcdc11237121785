"""The seven diagnoses, painted after the structures by which dermoscopy atlases tell them apart.

Terms and criteria: Kittler et al. 2016, Standardization of terminology in dermoscopy (doi
10.1016/j.jaad.2015.12.038); Zalaudek et al. 2006 for actinic keratosis (doi
10.1111/j.1365-2133.2006.07328.x). Each painter draws a subtype first, then keeps or drops every structure by
chance, so that classes overlap as they do in the clinic.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dermlens.data.synthetic.canvas import Canvas
from dermlens.data.synthetic.dermal import dermatofibroma, vascular_lesion
from dermlens.data.synthetic.keratinocytic import actinic_keratosis, basal_cell_carcinoma, benign_keratosis
from dermlens.data.synthetic.melanocytic import melanoma, nevus

Painter = Callable[[np.random.Generator, float], Canvas]

PAINTERS: dict[str, Painter] = {
    "akiec": actinic_keratosis,
    "bcc": basal_cell_carcinoma,
    "bkl": benign_keratosis,
    "df": dermatofibroma,
    "mel": melanoma,
    "nv": nevus,
    "vasc": vascular_lesion,
}
"""One painter a class: (the lesion's generator, pixels a millimetre) to a canvas."""
