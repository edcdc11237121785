"""Figures 2 to 7: schemas of the networks, drawn from the layers that were counted in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from dermlens.models.table import BACKBONES
from dermlens.predict.metadata import PaperMetadata
from dermlens.report.plots import BLACK, DPI

LARGE = ("densenet201", "inception_resnet_v2", "resnet50", "resnet152", "nasnet_large", "vgg16")
MOBILE = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "nasnet_mobile")
COLOURS = {
    "input": "#f2f2f2",
    "network": "#d6e8f5",
    "attention": "#fde5c2",
    "step": "#ffffff",
    "out": "#dcefe1",
}

Box = tuple[float, float, str, str]
"""Column, row, kind (a key of COLOURS) and words."""


def draw_schemas(layers: pd.DataFrame) -> dict[str, tuple[Figure, str]]:
    """Each figure by its name, with its caption.

    Args:
        layers: as `paper.layers` counts them.
    """
    by_name = {str(name): own.set_index("part") for name, own in layers.groupby("backbone", sort=False)}
    one = by_name["densenet201"]
    drawn = {
        "the two branches, with the sizes of DenseNet201": _both_branches(one),
        "the large networks and VGG16, where the code cuts them": _chains(by_name, LARGE),
        "the mobile networks, where the code cuts them": _chains(by_name, MOBILE),
        "what goes in, the image and 21 numbers of the patient": _inputs(one),
        "the Soft-Attention layer; Eq. 1 has a factor γ, the code has none": _attention(one),
        "the Soft-Attention module, with the sizes of DenseNet201": _module(one),
    }
    return {
        f"figure_{number}": (figure, f"Figure {number}: {caption}.")
        for number, (caption, figure) in enumerate(drawn.items(), 2)
    }


def _both_branches(layers: pd.DataFrame) -> Figure:
    boxes = {
        "image": (0, 0, "input", f"image\n{_size(layers, 'image')}"),
        "backbone": (1, 0, "network", f"DenseNet201, cut\n{_map(layers)}"),
        "attention": (2, 0, "attention", f"Soft-Attention\nmodule\n{_size(layers, 'max-pool, joined')}"),
        "flatten": (3, 0, "step", f"flatten\n{_size(layers, 'flatten')}"),
        "patient": (0, 1, "input", f"age, sex, site\n{len(PaperMetadata.names)} numbers"),
        "dense": (1, 1, "step", f"dense, ReLU\n{_size(layers, 'metadata')}"),
        "join": (4, 0.5, "step", "join"),
        "out": (5, 0.5, "out", f"dense, softmax\n{_size(layers, 'dense')} classes"),
    }
    edges = ["image backbone", "backbone attention", "attention flatten", "flatten join"]
    return _diagram(boxes, [*edges, "patient dense", "dense join", "join out"])


def _chains(by_name: Mapping[str, pd.DataFrame], names: Sequence[str]) -> Figure:
    """A row a network: what goes in, the stages of the backbone, what follows the cut."""
    boxes: dict[str, Box] = {}
    edges: list[str] = []
    for row, name in enumerate(names):
        layers = by_name[name]
        stages = layers[layers.index.str.startswith("backbone")]
        cut = ".".join(BACKBONES[name].cuts["paper"].rsplit(".", 2)[-2:])
        own = [
            ("input", f"{name}\n{_size(layers, 'image')}"),
            ("network", f"{len(stages)} sizes of map\n{stages['parameters'].sum():,} parameters"),
            ("network", f"cut: {cut}\n{_map(layers)}"),
            ("attention", f"Soft-Attention\n{_map(layers)}"),
            ("step", f"max-pool, joined\n{_size(layers, 'max-pool, joined')}"),
        ]
        if "flatten" in layers.index:
            own.append(("step", f"flatten\n{_size(layers, 'flatten')}"))
            own.append(("step", f"with metadata\n+ {_size(layers, 'metadata')}"))
        else:
            own.append(("network", f"fifth block, dense\n{_size(layers, layers.index[-2])}"))
        own.append(("out", f"dense, softmax\n{_size(layers, 'dense')}"))
        for column, (kind, words) in enumerate(own):
            boxes[f"{name}{column}"] = (column, row, kind, words)
            if column:
                edges.append(f"{name}{column - 1} {name}{column}")
    return _diagram(boxes, edges)


def _inputs(layers: pd.DataFrame) -> Figure:
    count = {
        field: sum(name.startswith(field) for name in PaperMetadata.names) for field in ("age", "sex", "site")
    }
    boxes = {
        "photograph": (0, 0, "input", "photograph\n450×600×3"),
        "crop": (1, 0, "step", "square from\nthe middle"),
        "scale": (2, 0, "step", "x / 127.5 − 1"),
        "image": (3, 0, "network", f"image\n{_size(layers, 'image')}"),
        "age": (0, 1, "input", "age"),
        "z": (1, 1, "step", f"less the mean,\nby the deviation: {count['age']}"),
        "sex": (0, 2, "input", "sex"),
        "one": (1, 2, "step", f"one of {count['sex']}"),
        "site": (0, 3, "input", "site"),
        "hot": (1, 3, "step", f"one of {count['site']}"),
        "patient": (3, 2, "network", f"patient\n{len(PaperMetadata.names)} numbers"),
    }
    edges = ["photograph crop", "crop scale", "scale image", "age z", "sex one", "site hot"]
    return _diagram(boxes, [*edges, "z patient", "one patient", "hot patient"])


def _attention(layers: pd.DataFrame) -> Figure:
    side = _map(layers).rsplit("×", 1)[0]
    parameters = int(layers["parameters"]["Soft-Attention"])
    boxes = {
        "map": (0, 0.5, "network", f"map\n{_map(layers)}"),
        "conv": (1, 0, "attention", f"convolution 3×3\n{side}, 16 heads\n{parameters:,} parameters"),
        "relu": (2, 0, "attention", "ReLU, softmax\nover positions,\neach head"),
        "sum": (3, 0, "attention", f"sum of the heads\n{side}"),
        "times": (4, 0.5, "step", "multiply"),
        "out": (5, 0.5, "out", f"attended map\n{_map(layers)}"),
        "same": (2, 1, "network", f"the same map\n{_map(layers)}"),
    }  # fmt: skip
    return _diagram(
        boxes, ["map conv", "conv relu", "relu sum", "sum times", "map same", "same times", "times out"]
    )


def _module(layers: pd.DataFrame) -> Figure:
    half = _size(layers, "max-pool, joined").rsplit("×", 1)[0]
    boxes = {
        "map": (0, 0.5, "network", f"map\n{_map(layers)}"),
        "attention": (1, 0, "attention", f"Soft-Attention\n{_map(layers)}"),
        "pool": (2, 0, "step", f"max-pool 2×2\n{half}"),
        "other": (2, 1, "step", f"max-pool 2×2\n{half}"),
        "join": (3, 0.5, "step", f"join\n{_size(layers, 'max-pool, joined')}"),
        "drop": (4, 0.5, "step", "ReLU,\ndropout 0.5"),
        "out": (5, 0.5, "out", f"flatten\n{_size(layers, 'flatten')}"),
    }
    edges = ["map attention", "attention pool", "map other", "pool join", "other join"]
    return _diagram(boxes, [*edges, "join drop", "drop out"])


def _size(layers: pd.DataFrame, part: str) -> str:
    return str(layers.loc[part, "output"])


def _map(layers: pd.DataFrame) -> str:
    """The map at the cut, which Soft-Attention keeps the size of."""
    return _size(layers, "Soft-Attention")


def _diagram(boxes: Mapping[str, Box], edges: Sequence[str]) -> Figure:
    """Boxes in columns and rows, and arrows between them."""
    columns = max(box[0] for box in boxes.values()) + 1
    rows = max(box[1] for box in boxes.values()) + 1
    size = (1.6 * columns, 0.3 + 0.66 * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_xlim(-0.5, columns - 0.5)
    axis.set_ylim(rows - 0.5, -0.5)
    drawn = {}
    for name, (column, row, kind, words) in boxes.items():
        style = {
            "boxstyle": "round,pad=0.35",
            "facecolor": COLOURS[kind],
            "edgecolor": BLACK,
            "linewidth": 0.8,
        }
        drawn[name] = axis.text(
            column, row, words, ha="center", va="center", fontsize=7.5, bbox=style, zorder=2
        )
    for edge in edges:
        start, end = edge.split()
        arrow = {"arrowstyle": "-|>", "color": BLACK, "linewidth": 0.9, "shrinkA": 1, "shrinkB": 1}
        patches = {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        axis.annotate("", boxes[end][:2], boxes[start][:2], arrowprops={**arrow, **patches}, zorder=1)
    return figure
