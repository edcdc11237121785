"""Whether explanations show what a model goes by: curves, masks, and a network that has learnt nothing.

    OMP_NUM_THREADS=1 python benchmarks/explanations.py DATA [--run RUN] --write

DATA is the folder of HAM10000 with its masks. The model that ships is explained, and with --run a trained
one, such as one with Soft-Attention. Images are of the roles selection and calibration of grouped-v1, never
of its test role, and with --run none that the run trained on; one image a lesion, as many of each class as
--each says where there are so many. Writes docs/results/explanations/.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import faithfulness as faith
import numpy as np
import pandas as pd
import torch
from faithfulness import randomised
from heading import heading
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from dermlens.data.manifest import load_manifest
from dermlens.data.table import read_table
from dermlens.evaluation.intervals import draw_lesions, estimate
from dermlens.explain.methods import METHODS, Draw, blurred, kernel_shap, skin
from dermlens.explain.network import Metadata, Pixels, decide, look, probabilities
from dermlens.files import write_text
from dermlens.metrics import Floats
from dermlens.models.saved import SavedModel, load_model
from dermlens.predict.pictures.preprocessing import crop_resize, read_image, read_square
from dermlens.predict.predictor import shipped_folder

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "explanations"
SAMPLES = 100
"""Of Kernel SHAP, half of what the verb takes."""
CHECKED = 3
"""Images of each class that the untrained network is shown too."""
SEED = 0
NOTHING_KNOWN = ("gaussian", "random")
ABOUT = (
    "Every image is explained for the most probable class, as it is, without "
    "test-time views; means over\n"
    "images, 95 % intervals from a bootstrap over lesions (1,000 resamples, stratified by "
    "class). Classes count alike here:\n"
    "these are no shares of what a clinic sees.\n"
    "\n"
    "| column | what |\n"
    "|---|---|\n"
    "| deletion | area under the calibrated probability of the named class while pixels take the "
    "colour of the skin, hottest first, in 8 steps; **lower** is more faithful |\n"
    "| insertion | the same while pixels of the blurred image get their detail back, hottest "
    "first; **higher** is more faithful |\n"
    "| mass inside | share of the positive heat inside the lesion's mask; next to it less the "
    "mask's share of the square |\n"
    "| untrained network | rank correlation with the map of the same method on the same network "
    "with all weights drawn anew, for {checked} images of each class; far from 0 means that the "
    "map shows the image or the design rather than what was learnt (Adebayo et al. 2018) |\n"
    "| centred Gaussian | rank correlation with a bell in the middle of the square, of standard "
    "deviation a quarter of the side |\n"
    "| less Gaussian | the difference to what that bell scores on the same image: it knows "
    "nothing of the image |\n"
    "\n"
    "`random` is heat drawn anew in blocks as large as a position of the network's map. "
    "Occlusion and Kernel SHAP take parts\n"
    "away by the blur that insertion begins with, and so have an advantage in that column; "
    "deletion's stand-in is another.\n"
    "Kernel SHAP draws {samples} coalitions here. Its patches follow the picture's edges, "
    "trained or not.\n"
    "A run without a decision of its own is explained for its highest probability, by softmax. "
    "Seconds are of one image, with\n"
    "other work at the same time on the machine.\n"
)
COLUMNS = {
    "deletion": "deletion",
    "deletion_minus_gaussian": "less Gaussian",
    "insertion": "insertion",
    "insertion_minus_gaussian": "less Gaussian",
    "mass": "mass inside",
    "mass_minus_area": "less area",
    "mass_minus_gaussian": "less Gaussian",
    "untrained_correlation": "untrained network",
    "gaussian_correlation": "centred Gaussian",
    "seconds": "seconds",
}


def draw(table: pd.DataFrame, run: Path | None, each: int) -> pd.DataFrame:
    """The images that are explained."""
    split = load_manifest("grouped-v1", table)
    ids = {*split.ids("selection"), *split.ids("calibration")}
    if run is not None:
        ids -= set(load_manifest(str(run / "split.csv"), table).ids("train"))
    rows = table[table["image_id"].isin(ids)].sample(frac=1, random_state=SEED)
    return rows.drop_duplicates("lesion_id").groupby("dx").head(each).sort_values("image_id")


def fused(saved: SavedModel) -> SavedModel:
    """The same network, its batch norms folded into its convolutions: 1.7 times as fast."""
    with suppress(TraceError):  # a padding that depends on the input cannot be traced: slower, then
        saved.model.backbone = fuse(saved.model.backbone)
    return saved


def methods_of(saved: SavedModel) -> dict[str, Draw]:
    found = {name: row.draw for name, row in METHODS.items() if not row.why_not(saved)}
    return found | {"kernel_shap": partial(kernel_shap, samples=SAMPLES)}


def of_image(
    saved: SavedModel, image_SSC: Pixels, meta_M: Metadata, mask_SS: Pixels, seed: int
) -> list[dict]:
    """A row a method: what its map of one image is worth."""
    z_1C, found = look(saved, image_SSC, meta_M)
    named = int(decide(saved, z_1C.double().numpy(), found["features_BD"].numpy()).diagnosis_N[0])
    seen: dict[bytes, float] = {}

    def probability(x_BSSC: Pixels) -> Floats:
        keys = [hashlib.blake2b(one.tobytes()).digest() for one in x_BSSC]
        new = [index for index, key in enumerate(keys) if key not in seen]
        if new:
            p_B = probabilities(saved, x_BSSC[new], meta_M)[:, named]
            seen.update({keys[index]: float(p) for index, p in zip(new, p_B, strict=True)})
        return np.array([seen[key] for key in keys])

    bell_SS = faith.gaussian(saved.size)
    cells = saved.model.feature_shape[-1]
    maps, seconds = {}, {}
    for name, method in methods_of(saved).items():
        began = time.perf_counter()
        maps[name] = method(saved, image_SSC, meta_M, named).heat_SS
        seconds[name] = time.perf_counter() - began
    maps |= {"gaussian": bell_SS}
    maps |= {"random": faith.random_cells(saved.size, cells, np.random.default_rng(seed))}
    inside_SS, blurred_SSC, skin_SSC = mask_SS / 255.0, blurred(image_SSC), skin(image_SSC)
    return [
        {
            "method": name,
            "named": named,
            "deletion": faith.deletion(probability, image_SSC, skin_SSC, heat_SS),
            "insertion": faith.insertion(probability, image_SSC, blurred_SSC, heat_SS),
            "mass": faith.mass_inside(heat_SS, inside_SS) if mask_SS.any() else math.nan,
            "area": float(inside_SS.mean()) if mask_SS.any() else math.nan,
            "seconds": seconds.get(name, math.nan),
            "gaussian_correlation": faith.rank_correlation(heat_SS, bell_SS),
            "heat": heat_SS,
        }
        for name, heat_SS in maps.items()
    ]


def measure(folder: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """A row an image and a method."""
    saved = fused(load_model(folder))
    squares = [
        read_square(Path(path), saved.size, saved.crop, saved.colour_constancy) for path in rows["path"]
    ]
    meta_NM = saved.encoder.encode(rows["age"], rows["sex"].tolist(), rows["site"].tolist())
    untaught = fused(randomised(saved, np.stack(squares[:64]), meta_NM[:64], seed=SEED))
    checked = set(rows.groupby("dx").head(CHECKED)["image_id"])
    made: list[dict] = []
    for number, row in enumerate(rows.itertuples()):
        mask_HW = (read_image(Path(row.mask), min_side=saved.size)[..., 0] > 127).astype(np.uint8) * 255
        mask_SS = crop_resize(mask_HW, saved.size, saved.crop)
        found = of_image(saved, squares[number], meta_NM[number], mask_SS, SEED + number)
        for one in found:
            one |= {"image_id": row.image_id, "lesion_id": row.lesion_id, "dx": row.dx}
            heat_SS, named, one["untrained_correlation"] = one.pop("heat"), one["named"], math.nan
            if row.image_id in checked and one["method"] not in NOTHING_KNOWN:
                method = methods_of(saved)[one["method"]]
                other_SS = method(untaught, squares[number], meta_NM[number], named).heat_SS
                one["untrained_correlation"] = faith.rank_correlation(heat_SS, other_SS)
        made += found
        if number % 10 == 9:
            print(f"{folder.name}: {number + 1} of {len(rows)}", flush=True)
    return pd.DataFrame(made)


def summarise(made: pd.DataFrame) -> pd.DataFrame:
    """Means over images with intervals over lesions, differences within images."""
    wide = made.pivot(index="image_id", columns="method")  # noqa: PD010 (nothing to aggregate)
    facts = made.drop_duplicates("image_id").set_index("image_id").loc[wide.index]
    resamples = draw_lesions(
        facts["lesion_id"].to_numpy(dtype=str),
        pd.factorize(facts["dx"], sort=True)[0].astype(np.int64),
        replicates=1000,
        seed=SEED,
    )
    columns: dict[tuple[str, ...], np.ndarray] = {}
    for method in made["method"].unique():
        one = {name: wide[name, method].to_numpy(dtype=float) for name in COLUMNS if name in made}
        one["mass_minus_area"] = one["mass"] - wide["area", method].to_numpy(dtype=float)
        for name in ("deletion", "insertion", "mass"):
            for other in NOTHING_KNOWN:
                if method != other:
                    less = wide[name, other].to_numpy(dtype=float)
                    one[f"{name}_minus_{other}"] = one[name] - less
        columns |= {(method, name): value for name, value in one.items() if np.isfinite(value).any()}
    columns["mask", "area"] = wide["area", "gaussian"].to_numpy(dtype=float)
    found = estimate(partial(_means, columns), resamples, level=0.95)
    return pd.DataFrame(
        [
            {
                "method": method,
                "quantity": name,
                **found[method, name],
                "images": int(np.isfinite(value).sum()),
            }
            for (method, name), value in columns.items()
        ]
    )


def _means(columns: Mapping[tuple[str, ...], np.ndarray], weights: Floats | None) -> dict:
    """Weighted means over the images that have a value."""
    found = {}
    for place, value_N in columns.items():
        there_N = np.isfinite(value_N)
        weight = there_N.astype(float) if weights is None else weights * there_N
        with np.errstate(invalid="ignore"):
            found[place] = weight @ np.where(there_N, value_N, 0.0) / weight.sum(axis=-1)
    return found


def page(table: pd.DataFrame, name: str) -> list[str]:
    cells = table.set_index(["method", "quantity"])
    lines = [f"| method | {' | '.join(COLUMNS.values())} |", f"|---{'|---' * len(COLUMNS)}|"]
    for method in [method for method in table["method"].unique() if method != "mask"]:
        row = []
        for quantity in COLUMNS:
            if (method, quantity) not in cells.index:
                row.append("")
                continue
            value, low, high = cells.loc[(method, quantity), ["value", "low", "high"]].astype(float)
            row.append(f"{value:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"))
        lines.append(f"| {method} | {' | '.join(row)} |")
    area = cells.loc[("mask", "area")]
    return [
        f"## {name}",
        "",
        *lines,
        "",
        f"{area['images']:.0f} images; masks cover {area['value']:.3f} of a square.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, help="A trained run to explain too.")
    parser.add_argument("--each", type=int, default=15, help="Images of each class.")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole = read_table(options.data)
    models = {"shipped": (shipped_folder(), None)}
    if options.run is not None:
        config = load_model(options.run).config
        kind = config.kernel or "no"
        models[f"{config.backbone}, cut {config.cut}, {kind} attention"] = (options.run, options.run)
    parts, lines, took = [], [], {}
    for name, (folder, run) in models.items():
        began = time.perf_counter()
        found = summarise(measure(folder, draw(whole, run, options.each)))
        took[name] = time.perf_counter() - began
        parts.append(found.assign(model=name))
        lines += [*page(found, name), f"{took[name]:.0f} s.", ""]
        print("\n".join(page(found, name)), flush=True)
        if options.write:
            write(parts, lines, options)


def write(parts: list[pd.DataFrame], lines: list[str], options: argparse.Namespace) -> None:
    table = pd.concat(parts)[["model", "method", "quantity", "value", "low", "high", "images"]]
    write_text(RESULTS / "faithfulness.csv", table.to_csv(index=False, float_format="%.6f"))
    command = f"explanations.py DATA{' --run RUN' if options.run else ''} --each {options.each}"
    head = heading("Do explanations show what the model goes by?", command, f", seed {SEED}")
    text = ABOUT.format(checked=CHECKED, samples=SAMPLES)
    write_text(RESULTS / "README.md", "\n".join([*head, text, *lines]).rstrip() + "\n")


if __name__ == "__main__":
    main()
