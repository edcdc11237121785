"""What the networks are made of: the layers of Tables A1 and A2, counted in the networks that are built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import fx, nn

from dermlens.labels import CLASSES
from dermlens.models.classifier import LesionClassifier, MapHead, assemble
from dermlens.models.config import ModelConfig
from dermlens.models.cuts import build_backbone
from dermlens.models.summary import count
from dermlens.models.table import BACKBONES
from paper.study import read_published

LAYERS = "layers.csv"
META_WIDTH = 21
COLUMNS = ["backbone", "part", "output", "layers", "parameters"]


@dataclass
class Stage:
    """The layers of a cut backbone whose outputs have one size.

    Attributes:
        channels: of the last of them.
        layers: how many of each kind.
        parameters: as Keras counts them, with the running statistics of batch norm.
    """

    channels: int = 0
    layers: Counter[str] = field(default_factory=Counter)
    parameters: int = 0


def measure_layers() -> pd.DataFrame:
    """Every backbone with a paper's cut, stage by stage, and what follows the cut, with `COLUMNS`."""
    return pd.concat(
        [layers_of(name) for name, row in BACKBONES.items() if row.has_cut("paper")], ignore_index=True
    )


def read_layers(results: Path) -> pd.DataFrame:
    """What is published of the layers; none of it where that is nothing.

    Raises:
        UserError: the table is damaged.
    """
    path = results / LAYERS
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    return read_published(path, COLUMNS, ["parameters"], whole=True).fillna({"layers": ""})


def layers_of(name: str) -> pd.DataFrame:
    """One backbone at the paper's cut, with Soft-Attention and the metadata branch that the authors had."""
    branch = "none" if BACKBONES[name].published.metadata is None else "paper"
    with torch.device("meta"):
        backbone = build_backbone(name, "paper")
        model = assemble(
            ModelConfig(backbone=name, cut="paper", attention="original", metadata=branch),
            backbone,
            num_classes=len(CLASSES),
            meta_width=META_WIDTH,
        )
    side = model.size
    rows = [("image", f"{side}×{side}×3", "", 0)]
    layered = {size: stage for size, stage in stages_of(backbone, side).items() if stage.layers}
    for place, (size, stage) in enumerate(layered.items(), 1):  # the others only pad
        words = ", ".join(f"{number} {layer}" for layer, number in sorted(stage.layers.items()))
        rows.append((f"backbone {place}", f"{size}×{size}×{stage.channels}", words, stage.parameters))
    rows += _behind_the_cut(model)
    return pd.DataFrame([(name, *row) for row in rows], columns=COLUMNS)


def stages_of(backbone: fx.GraphModule, side: int) -> dict[int, Stage]:
    """The layers of a backbone by the side of their output, the largest first."""
    shapes = _Shapes(backbone)
    shapes.run(torch.empty(1, 3, side, side, device="meta"))
    stages: dict[int, Stage] = {}
    for node, size, channels in shapes.outputs():
        stage = stages.setdefault(size, Stage())
        stage.channels = channels
        if node.op == "call_module":
            module = backbone.get_submodule(str(node.target))
            stage.parameters += count(module)[1]
            if isinstance(module, nn.Conv2d):
                kernel = "×".join(map(str, module.kernel_size))
                depthwise = "depthwise " if module.groups == module.in_channels > 1 else ""
                stage.layers[f"{depthwise}conv {kernel}"] += 1
            elif isinstance(module, nn.BatchNorm2d):
                stage.layers["batch norm"] += 1
    return dict(sorted(stages.items(), reverse=True))


def _behind_the_cut(model: LesionClassifier) -> list[tuple[str, str, str, int]]:
    """Attention, pooling, metadata and the last layers, as the head of the network has them."""
    channels, side, _ = model.feature_shape
    half = -(-side // 2)
    head = model.head
    assert isinstance(head, MapHead)
    assert head.attention is not None
    joined = "2×2, of the map with and without attention"
    heads = [
        ("Soft-Attention", f"{side}×{side}×{channels}", "16 heads", count(head.attention)[1]),
        ("max-pool, joined", f"{half}×{half}×{2 * channels}", joined, 0),
    ]
    width = head.linear.in_features
    if head.tail is not None:
        block = "convolutions, dense layers"
        heads.append(("the authors' fifth block", f"{head.tail.width}", block, count(head.tail)[1]))
    if head.branch is not None:
        width -= head.branch.width
        words = f"dense, of {META_WIDTH} numbers"
        heads.append(("metadata", f"{head.branch.width}", words, count(head.branch)[1]))
    if head.tail is None:
        heads.append(("flatten", f"{width}", "ReLU, dropout 0.5", 0))
    return [
        *heads,
        ("dense", f"{len(CLASSES)}", f"softmax, of {head.linear.in_features} numbers", count(head.linear)[1]),
    ]


class _Shapes(fx.Interpreter):
    """Runs a graph on tensors without numbers, and keeps the shapes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)

    def outputs(self) -> Iterator[tuple[fx.Node, int, int]]:
        """Every step whose output is a map: itself, the side, the channels."""
        for node, value in self.env.items():
            if (
                node.op not in ("placeholder", "output")
                and isinstance(value, torch.Tensor)
                and value.ndim == 4
            ):
                yield node, value.shape[-1], value.shape[1]
