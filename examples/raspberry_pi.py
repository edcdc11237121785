"""Classify dermoscopic images on a small board, without dermlens: NumPy, Pillow and one engine.

    pip install numpy pillow onnxruntime            # or ai-edge-litert in the place of onnxruntime
    python raspberry_pi.py model/ lesion.jpg --age 55 --sex male --site back

The folder is what `dermlens export` wrote: model.json, and model.onnx or model.tflite. Research software, not
a medical device: it says what a model makes of an image, and diagnoses nobody.

It answers and abstains as `dermlens predict` does, but for checks of image quality other than the colours of
skin, which are left out, as colour profiles are. `--one-view` looks at the image once instead of at the
model's mirrored and turned views: several times as fast, and not the answer whose scores are published.

Shapes: S side of the square, C classes, D features, M metadata width, V views.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

REDNESS = 0.007, 0.456
"""Least and largest mean of red less green in pictures of skin, as dermlens has them."""
Network = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Read the arguments, answer for each image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of the export, or one of its two files")
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--age", type=float, help="of the patient, in years")
    parser.add_argument("--sex", choices=["female", "male"])
    parser.add_argument("--site", help="such as back, or head/neck")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--one-view", action="store_true", help="look once: faster, not what was scored")
    options = parser.parse_args()
    folder = options.model if options.model.is_dir() else options.model.parent
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if document["colour_constancy"] != "none":
        sys.exit("this model balances colours first, which this example does not do: use dermlens predict")
    if not options.one_view and set(document["views"]["sizes"]) - {document["size"]}:
        sys.exit(
            "this model's views have several sizes, which this example does not do: use dermlens predict"
        )
    file = options.model
    if file.is_dir():
        file = next(path for name in ("model.tflite", "model.onnx") if (path := file / name).is_file())
    network = open_file(file, options.threads)
    meta_1M = encode(document["encoder"], options.age, options.sex, options.site)
    views = 1 if options.one_view else document["views"]["symmetries"]
    for path in options.images:
        try:
            x_SSC = read(path, document["size"], document["crop"])
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{path.name}: cannot be read: {error}", file=sys.stderr)
            continue
        before = time.perf_counter()
        seen = [network(view(x_SSC, index)[None], meta_1M) for index in range(views)]
        logits_C = np.mean([logits_1C[0] for logits_1C, _ in seen], axis=0)
        seconds = time.perf_counter() - before
        features_D = seen[0][1][0]  # of the image as it is
        p_C, named, flag, withheld, doubts = decide(logits_C, features_D, document)
        redness = float((x_SSC[..., 0].astype(float) - x_SSC[..., 1]).mean()) / 255
        if not REDNESS[0] <= redness <= REDNESS[1]:
            doubts.append("not in the colours of skin")
        state = "withheld" if withheld else "uncertain"
        probabilities = ", ".join(f"{code} {p:.4f}" for code, p in zip(document["classes"], p_C, strict=True))
        parts = [f"{state}: {', '.join(doubts)}"] if doubts else []
        parts += [] if withheld else ([flag] if flag else []) + [f"most likely {named}", probabilities]
        print(f"{path.name}: {'; '.join(parts)}; {1000 * seconds:.0f} ms")
    for limit in (document["onnx"] or {}).get("limits", ()):
        print(limit)
    print("Research software, not a medical device.")


def open_file(path: Path, threads: int) -> Network:
    """Logits (1, C) and features (1, D) of uint8 pixels (1, S, S, 3) and metadata (1, M)."""
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(path), num_threads=threads).get_signature_runner()
        wanted = runner.get_input_details()

        def run(image: np.ndarray, meta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = runner(**_named(wanted, image, meta))
            return found["logits"], found["features"]

        return run
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.29 on it reports to its makers
    import onnxruntime  # noqa: TID251  # without dermlens

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    inputs = [entry.name for entry in session.get_inputs()]
    return lambda image, meta: tuple(session.run(["logits", "features"], _named(inputs, image, meta)))


def _named(wanted: Any, image: np.ndarray, meta: np.ndarray) -> dict[str, np.ndarray]:
    given = {"image": image, "meta": meta}
    return {name: given[name] for name in wanted}


def read(path: Path, size: int, crop: str) -> np.ndarray:
    """Upright RGB, the centred square, S × S pixels, uint8; the network normalises by itself."""
    with Image.open(path) as file:
        file.draft(None, (size, size))  # a JPEG is decoded at the smallest scale that is large enough
        image = ImageOps.exif_transpose(file).convert("RGB")
    if crop == "center":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def view(x_SSC: np.ndarray, index: int) -> np.ndarray:
    """One of the eight symmetries of the square; 0 is the image as it is."""
    x_SSC = x_SSC.swapaxes(0, 1) if index & 4 else x_SSC
    x_SSC = x_SSC[::-1] if index & 2 else x_SSC
    return np.ascontiguousarray(x_SSC[:, ::-1] if index & 1 else x_SSC)


GROUPS = {
    "head_neck": ("scalp", "face", "ear", "neck", "nose", "lip"),
    "anterior_torso": ("chest", "abdomen"),
    "posterior_torso": ("back",),
    "torso": ("trunk", "lateral_torso"),
    "upper_extremity": ("hand", "arm", "forearm"),
    "lower_extremity": ("foot", "thigh"),
    "palms_soles": ("acral",),
    "oral_genital": ("genital",),
}


def encode(encoder: dict[str, Any], age: float | None, sex: str | None, site: str | None) -> np.ndarray:
    """What is known of the patient, as the network was taught it: (1, M). What is missing is flagged."""
    if encoder["kind"] == "none":
        return np.zeros((1, 0), np.float32)
    if encoder["kind"] != "default":
        sys.exit(f"this example knows no {encoder['kind']} metadata encoder: use dermlens predict")
    word = (site or "missing").lower().replace(" ", "_").replace("/", "_")
    group = next((name for name, words in GROUPS.items() if word in words), word)
    features = dict.fromkeys(encoder["names"], 0.0)
    if age is None or not encoder["age_std"]:
        features["age_missing"] = 1.0
    else:
        features["age_z"] = (age - encoder["age_mean"]) / encoder["age_std"]
    features[f"sex_{sex or 'missing'}"] = 1.0
    if f"site_{group}" not in features:
        sys.exit(f"--site {site}: not a site that this model knows; leave it out if nobody knows it")
    features[f"site_{group}"] = 1.0
    return np.array([list(features.values())], np.float32)


def _is_dermoscopy(features_E: np.ndarray, boundary: dict[str, Any]) -> bool:
    """Whether a picture is on the side of dermoscopy, and near enough to all of it."""
    if not features_E @ np.array(boundary["weights"]) + boundary["bias"] >= 0:
        return False
    if (typical := boundary.get("typical")) is None:
        return True
    z_E = (features_E - np.array(typical["mean"])) / np.array(typical["scale"])
    along_K = np.array(typical["directions"]) @ z_E
    less_K = 1 / np.array(typical["variances"]) - 1 / typical["rest"]
    return bool(z_E @ z_E / typical["rest"] + along_K**2 @ less_K <= typical["farthest"])


def decide(
    logits_C: np.ndarray, features_D: np.ndarray, document: dict[str, Any]
) -> tuple[np.ndarray, str, str, bool, list[str]]:
    """The answer, from logits that are averaged over the views, and features of the image as it is.

    Returns:
        Probabilities in the model's own case mix; the most probable class; whether the lesion is flagged, in
        words; whether the image is no dermoscopy, so that none of it counts; and why the model abstains.
    """
    boundary = document.get("dermoscopy")
    if boundary and len(boundary["weights"]) > len(features_D):
        sys.exit("model.json and the network next to it are not of one model")
    alien = boundary is not None and not _is_dermoscopy(features_D[-len(boundary["weights"]) :], boundary)
    doubts = ["it does not look like dermoscopy"] if alien else []
    classes, decision = document["classes"], document["decision"]
    logits_C = logits_C.astype(np.float64)
    if decision is None:
        p_C = _softmax(logits_C)
        return p_C, classes[int(p_C.argmax())], "", alien, doubts
    scaling, sets, ood, limits = (decision[name] for name in ("scaling", "sets", "ood", "abstention"))
    scores_C = logits_C / scaling["temperature"]
    scores_C = scores_C * np.array(scaling["scale"] or 1.0) + np.array(scaling["bias"] or 0.0)
    prior = decision["prior"]  # the scores are those of equal class shares
    p_C = _softmax(scores_C + np.log(prior["shares"]) if prior else scores_C)
    named = int(p_C.argmax())
    if ood and ood["kind"] != "energy":
        sys.exit(f"this model's abstention ({ood['kind']}) is not in this example: use dermlens predict")
    strange = bool(ood) and -np.log(np.exp(logits_C).sum()) > ood["threshold"]
    if strange:
        doubts.append("unlike the images that it was trained on")
    if limits["least_confidence"] is not None and p_C.max() < limits["least_confidence"]:
        doubts.append("no diagnosis stands out")
    if limits["largest_set"] is not None and sets:
        of_C = scores_C if sets["score"] == "equal" else logits_C
        held_C = _softmax(of_C) >= np.array(sets["thresholds"])
        held_C[named] = True
        held_C |= p_C >= p_C[held_C].min()  # none that is more probable than one it holds is left out
        if held_C.sum() > limits["largest_set"]:
            doubts.append("too many diagnoses fit")
    return p_C, classes[named], _flag(scores_C, classes, decision["suspicion"]), alien, doubts


def _flag(scores_C: np.ndarray, classes: list[str], suspicion: dict[str, Any] | None) -> str:
    """Whether the suspicion of malignancy, at a fixed case mix, reaches the mark; empty without one."""
    if not suspicion or not suspicion["marks"]:
        return ""
    mark = max(suspicion["marks"], key=lambda one: one["catches"])
    q_C = _softmax(scores_C + np.log(suspicion["reference"]["shares"]))
    flagged = sum(q_C[classes.index(code)] for code in suspicion["malignant"]) >= mark["threshold"]
    caught = f"at the mark that catches {100 * mark['catches']:.0f} of 100 malignant lesions"
    return f"{'flagged' if flagged else 'not flagged'} {caught}"


def _softmax(scores_C: np.ndarray) -> np.ndarray:
    e_C = np.exp(scores_C - scores_C.max())
    return e_C / e_C.sum()


if __name__ == "__main__":
    main()
