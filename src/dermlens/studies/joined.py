"""Several trained networks as one: its logits are the mean of theirs, its map and features are all of them.

    z = (z_1 + … + z_M) / M

The backbones stand side by side, their last maps are joined channel behind channel, and so are the features
of their metadata branches; the last layer holds the members' weights, divided by M. So the network has one
exact evidence map, one vector of features and one ONNX file, and every verb that takes a run takes it.
Unlike a soup, members may be of different networks and starts. It costs what all of them cost together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from dermlens.errors import UserError
from dermlens.models.classifier import LesionClassifier, build_classifier
from dermlens.models.config import ModelConfig, NetworkConfig
from dermlens.models.saved import SavedModel
from dermlens.models.table import BACKBONES, JOINED, METADATA_BRANCHES
from dermlens.runs import Run
from dermlens.studies.soup import check_alike, input_of, make_run
from dermlens.training.machine import Where

LONGEST_NAME = 100
"""Characters of a recipe's name."""


def join(
    members: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    **where: Unpack[Where],
) -> Run:
    """Make a run of the joined network, and predict the roles that the first member predicted; never test.

    Args:
        members: two or more completed runs on one split, soups among them if need be.
        out: the run directory to make; absent or empty.
        data: as for `Run.table`.
        **where: see `Where`.

    Returns:
        The completed run. It has no decision: `dermlens calibrate` gives it one.

    Raises:
        UserError: fewer than two members, members that cannot be joined, or images that are not there.
    """
    if len(members) < 2:
        raise UserError("two networks can be joined, one cannot: name another run")
    runs = [Run.open(member) for member in members]
    saved = [run.model() for run in runs]
    for run, other in zip(runs, saved, strict=True):
        _check_joins(run, other)
    forms = [(one.config.resolved_form, one.config.resolved_conventions) for one in saved]
    inputs = [(*input_of(one), one.views) for one in saved]
    check_alike(runs, {"input": inputs, "form of network": forms}, "they cannot be joined")
    section = joined_config(saved)
    made = joined(saved, section)
    name = "-".join(dict.fromkeys(run.recipe.name for run in runs))[:LONGEST_NAME]
    recipe = runs[0].recipe.model_copy(update={"name": name, "model": section})
    parameters = sum(tensor.numel() for tensor in made.model.parameters())
    facts = {"joined": True, "start": None, "trainable_parameters": parameters}
    return make_run(runs, made, recipe, out, data, **where, **facts)


def joined_config(saved: Sequence[SavedModel]) -> ModelConfig:
    """What a recipe says of the network of several.

    Args:
        saved: with maps of equal size and everything in front of the network alike.

    Raises:
        UserError: their maps differ in size.
    """
    first = saved[0]
    if len({one.model.feature_shape[1:] for one in saved}) > 1:
        shapes = ", ".join("×".join(map(str, one.model.feature_shape[1:])) for one in saved)
        raise UserError(f"the last maps of the networks have {shapes} positions, and only equal ones join")
    branches = [one.config.metadata for one in saved]
    return ModelConfig(
        backbone=JOINED.join(one.config.backbone for one in saved),
        form=first.config.resolved_form,
        conventions=first.config.resolved_conventions,
        attention="none",
        pool="gap",
        dropout=first.config.dropout,
        metadata="none" if set(branches) == {"none"} else JOINED.join(branches),
    )


def joined(saved: Sequence[SavedModel], section: ModelConfig) -> SavedModel:
    """The network of several, in evaluation mode, without a decision; `section` is its `joined_config`."""
    first, config = saved[0], NetworkConfig.of(section)
    model = build_classifier(
        config, num_classes=len(first.classes), meta_width=first.encoder.width, size=first.size
    )
    _fill(model, [one.model for one in saved])
    return SavedModel(
        model.eval(),
        config,
        first.classes,
        first.size,
        first.crop,
        first.encoder,
        views=first.views,
        colour_constancy=first.colour_constancy,
        described=first.described,
    )


@torch.no_grad()
def _fill(model: LesionClassifier, members: Sequence[LesionClassifier]) -> None:
    """Give the joined network the members' weights."""
    state, head = model.state_dict(), model.head
    images, patients, bias_C = [], [], torch.zeros_like(head.linear.bias)
    for number, member in enumerate(members):
        for name, tensor in member.backbone.state_dict().items():
            state[f"backbone.members.{number}.{name}"].copy_(tensor)
        branch = getattr(member.head, "branch", None)
        if isinstance(branch, nn.Module):
            for name, tensor in branch.state_dict().items():
                state[f"head.branch.members.{number}.{name}"].copy_(tensor)
        images.append(member.head.linear.weight[:, : member.head.features])
        patients.append(member.head.linear.weight[:, member.head.features :])
        bias_C += member.head.linear.bias
    head.linear.weight.copy_(torch.cat([*images, *patients], dim=1) / len(members))
    head.linear.bias.copy_(bias_C / len(members))


def _check_joins(run: Run, saved: SavedModel) -> None:
    """The last layer of a member is linear in its map's mean, which alone can be joined."""
    config = saved.config
    wanted: dict[str, Any] = {
        "model.cut": "full",
        "model.attention": "none",
        "model.pool": "gap",
        "model.divide_map": 1.0,
        "paper.normalization": "weights",
        "paper.channel_order": "rgb",
    }
    for name, value in wanted.items():
        if (own := getattr(config, name.partition(".")[2])) != value:
            raise UserError(f"{run.path} has {name}={own}; only networks with {value} can be joined")
    for key, name, known in (
        ("backbone", config.backbone, BACKBONES),
        ("metadata", config.metadata, METADATA_BRANCHES),
    ):
        if name not in known:
            raise UserError(f"{run.path} has model.{key}={name}; only those of dermlens itself can be joined")
