"""Whether maps change as a network forgets, block by block, and how alike those of two trainings are.

    OMP_NUM_THREADS=1 python benchmarks/forgetting.py DATA --run RUN [--other RUN] --write

The checks of Young et al. 2019 (arXiv 1908.06612) for every method of `dermlens explain` that fits the run:
the same map drawn twice; maps of networks whose weights were drawn anew from the end on, a block at a time;
and, with --other, those of a second training, such as another seed of the same fold. Bare maps are compared
by structural similarity and rank correlation, where the article has them laid over the photograph. DATA is
the folder that the run was trained on; images are of its role selection, --each of each class, one a lesion.
Writes docs/results/explanations/forgetting.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import faithfulness as faith
import numpy as np
import pandas as pd
from explanations import RESULTS, methods_of

from dermlens.data.table import read_table
from dermlens.explain.network import look
from dermlens.predict.pictures.preprocessing import read_square
from dermlens.runs import Run


def measure(run: Run, other: Run | None, data: Path, each: int) -> pd.DataFrame:
    """As `faithfulness.sanity_table`, and rows of `forgotten` another training."""
    saved, table = run.model(), read_table(data)
    rows = table[table["image_id"].isin(run.split().ids("selection"))].sort_values("image_id")
    rows = rows.drop_duplicates("lesion_id").groupby("dx").head(each)
    paths, light = map(Path, rows["path"]), saved.colour_constancy
    x_BSSC = np.stack([read_square(path, saved.size, saved.crop, light) for path in paths])
    meta_BM = saved.encoder.encode(rows["age"], rows["sex"].tolist(), rows["site"].tolist())
    named_B = [
        int(look(saved, x_SSC, meta_M)[0].argmax()) for x_SSC, meta_M in zip(x_BSSC, meta_BM, strict=True)
    ]
    methods = methods_of(saved)
    made = faith.sanity_table(saved, methods, x_BSSC, meta_BM, named_B)
    if other is not None:
        second = other.model()
        found = [
            {"forgotten": "another training", "method": name}
            | faith.compare_maps(saved, second, draw, x_BSSC, meta_BM, named_B)
            for name, draw in methods.items()
        ]
        made = pd.concat([made, pd.DataFrame(found)], ignore_index=True)
    return made.assign(images=len(rows))


def main() -> None:
    """Measure and print, and with --write keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    other = None if options.other is None else Run(options.other)
    made = measure(Run(options.run), other, options.data, options.each)
    print(made.to_string(index=False))
    if options.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        made.to_csv(RESULTS / "forgetting.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
