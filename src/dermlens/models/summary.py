"""Every network of the family, its parameters counted next to the published ones; nothing is allocated."""

from __future__ import annotations

from typing import Any, Literal

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from torch import fx, nn

from dermlens.labels import CLASSES
from dermlens.models.classifier import LesionClassifier, assemble
from dermlens.models.config import ModelConfig
from dermlens.models.cuts import build_backbone
from dermlens.models.metadata_branch import MetadataBranch
from dermlens.models.table import BACKBONES, Counts, Cut

_META_WIDTH = 21  # the paper's vector
_AGE_NORMALIZER = 3  # numbers that Keras counts in its normalisation layer of ages: mean, variance, count
_CUTS: tuple[Cut, ...] = ("paper", "full", "plain")

Row = dict[str, Any]


def summarise_models() -> list[Row]:
    """Count the parameters of every backbone at every cut, built as published.

    As published: Soft-Attention in the `original` form, flattened, with the paper's metadata branch; the
    authors' VGG16, which they ran on images alone, without; `plain` with neither.

    Returns:
        One object a backbone and cut, ready for JSON. `trainable` and `total` are ours, `total` as Keras
        counts it (with the running statistics of batch norm and the age normaliser's 3); `published_*` the
        printed numbers or none; `difference` is published_trainable − trainable, `reason` its origin.
        `image_only` has the counts without metadata; `depth` is the layers with weights of the uncut
        backbone, `depth_at_cut` of what is left of it, `uncut_total` its parameters in Keras's sense.
    """
    return [row for name in BACKBONES for row in summarise(name)]


def summarise(name: str) -> list[Row]:
    """The objects of one backbone, one a cut."""
    entry = BACKBONES[name]
    with torch.device("meta"):
        backbones = {cut: build_backbone(name, cut) for cut in _CUTS if entry.has_cut(cut)}
    uncut = backbones["plain" if entry.plain else "full"]
    rows = []
    for cut, backbone in backbones.items():
        published = _published(name, cut)
        image_only = cut == "plain" or (cut == "paper" and entry.published.metadata is None)
        model = _assemble(name, cut, backbone, metadata="none" if image_only else "paper")
        trainable, total = count(model)
        difference = published[0] - trainable if published else None
        rows.append(
            {
                "name": name,
                "cut": cut,
                "metadata": "none" if image_only else "paper",
                "input": model.size,
                "feature_map": [*model.feature_shape[1:], model.feature_shape[0]],
                "trainable": trainable,
                "total": total,
                "depth": depth(uncut),
                "depth_at_cut": depth(backbone),
                "published_trainable": published[0] if published else None,
                "published_total": published[1] if published else None,
                "published_depth": entry.published.depth,
                "depth_reason": entry.depth_reason,
                "difference": difference,
                "reason": entry.reason if difference else "",
                "image_only": _image_only(name, backbone) if cut == "paper" else None,
                "uncut_total": count(uncut)[1] if entry.plain else None,
                "published_uncut_total": entry.published.uncut,
            }
        )
    return rows


def count(model: nn.Module) -> Counts:
    """(trainable, total) parameters, the total as Keras counts it.

    Keras counts the running mean and variance of batch norm, and, where there is a metadata branch, three
    numbers of the layer that standardises ages, which here live in the metadata encoder.
    """
    parameters = list(model.parameters())
    statistics = sum(buffer.numel() for name, buffer in model.named_buffers() if "running_" in name)
    has_branch = any(isinstance(module, MetadataBranch) for module in model.modules())
    trainable = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in parameters) + statistics
    return trainable, total + has_branch * _AGE_NORMALIZER


def depth(network: nn.Module) -> int:
    """Layers with weights; NASNet's pairs of a depthwise and a pointwise convolution are one, as in Keras."""
    layers = [name for name, module in network.named_modules() if any(True for _ in module.parameters(False))]
    return sum(not name.rpartition(".")[2].startswith("depthwise") for name in layers)


def render_table(rows: list[Row]) -> RenderableType:
    """The rows for a terminal, the reasons below."""
    table = Table("network", "cut", "map", "depth", title="Backbones", title_justify="left")
    for heading in ("trainable", "published", "difference", "total", "published total"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*cells(row))
    return Group(table, *notes(rows))


def cells(row: Row) -> list[str]:
    """One line of the table."""
    sides = "×".join(map(str, row["feature_map"]))
    numbers = ("trainable", "published_trainable", "difference", "total", "published_total")
    shape = f"{row['input']} → {sides}"
    return [
        row["name"],
        row["cut"],
        shape,
        str(row["depth"]),
        *("–" if row[key] is None else f"{row[key]:,}" for key in numbers),
    ]


def notes(rows: list[Row]) -> list[str]:
    """What the table cannot say in a cell."""
    found = [
        "Cuts: paper, where the authors' code cuts; full, the last feature map; plain, the uncut network.",
        "Built with Soft-Attention (original kernel), flatten and the paper's metadata branch; vgg16 paper"
        " without metadata, plain with neither. Totals are Keras's: with the statistics of batch norm."
        " Difference: published trainable − trainable. Depth: layers with weights of the uncut network.",
    ]
    for row in rows:
        if row["difference"]:
            found.append(f"{row['name']} {row['cut']}: {row['difference']:,} fewer: {row['reason']}.")
        if row["cut"] == "plain" and row["depth_reason"]:
            found.append(f"{row['name']} depth {row['depth']}: {row['depth_reason']}.")
    return found


def _assemble(
    name: str,
    cut: Cut,
    backbone: fx.GraphModule,
    *,
    metadata: str,
    pool: Literal["flatten", "gap"] = "flatten",
) -> LesionClassifier:
    """A published configuration, without memory for its numbers."""
    attention: Literal["none", "original"] = "none" if cut == "plain" else "original"
    config = ModelConfig(backbone=name, cut=cut, attention=attention, metadata=metadata, pool=pool)
    with torch.device("meta"):
        return assemble(config, backbone, num_classes=len(CLASSES), meta_width=_META_WIDTH)


def _published(name: str, cut: Cut) -> Counts | None:
    """The printed counts of the configuration that a row shows."""
    published = BACKBONES[name].published
    if cut == "paper":
        return published.metadata or published.image_only
    return published.plain if cut == "plain" else None


def _image_only(name: str, backbone: fx.GraphModule) -> Row:
    """The counts without metadata, pooled as the authors did."""
    published = BACKBONES[name].published
    assert published.image_only is not None
    model = _assemble(name, "paper", backbone, metadata="none", pool=published.image_only_pool)
    trainable, total = count(model)
    return {
        "pool": published.image_only_pool,
        "trainable": trainable,
        "total": total,
        "published_trainable": published.image_only[0],
        "published_total": published.image_only[1],
        "difference": published.image_only[0] - trainable,
    }
