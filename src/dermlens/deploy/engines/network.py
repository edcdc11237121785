"""What an opened file of any engine is. Free of torch, as opening one is for all engines but torch's own.

Shapes: B images, S side of the square, C classes, M metadata width, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dermlens.data.views import Numbers, Pixels

Network = Callable[[Pixels, npt.NDArray[np.float32] | None], tuple[Numbers, Numbers]]
"""logits_BC and features_BD of x_BSSC and meta_BM, which files without a metadata branch do not look at."""
