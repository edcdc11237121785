"""DropBlock with a ramp (Ghiasi et al. 2018, arXiv 1810.12890), as Yao et al. 2022 (arXiv 2102.01284) use it.

In training whole blocks of positions are set to zero behind the last two stages of the backbone, the same
for all channels, and what is left is scaled up to keep the mean of the mask 1. The share rises linearly from
0: the authors' ramp of 50,000 steps is longer than their training, so here its length is a share of it.

Shapes: B batch, C channels, H × W positions.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from dermlens.errors import UserError
from dermlens.sections import DropBlockConfig
from dermlens.training.optimisers import backbone_blocks
from dermlens.training.task import LesionTask


def drop_block(x_BCHW: Tensor, probability: float, side: int) -> Tensor:
    """Zero blocks of positions and scale the rest by positions/(positions that are left).

    A block begins at every position with γ = probability/side², as the authors have it; the article divides
    by the share of positions where a whole block fits as well. Blocks are cut off at the edges.

    Args:
        x_BCHW: a map.
        probability: share of positions to be dropped, as long as blocks do not overlap.
        side: of a block, odd; on a smaller map the largest odd number that fits.

    Returns:
        A new map of the same mean, if the map does not know where the blocks fall.
    """
    batch, _, height, width = x_BCHW.shape
    side = min(side, _odd(height), _odd(width))
    centre_BHW = torch.rand(batch, height, width, device=x_BCHW.device) < probability / side**2
    hit_B1HW = F.max_pool2d(centre_BHW[:, None].to(x_BCHW.dtype), side, stride=1, padding=side // 2)
    kept_B1HW = 1 - hit_B1HW
    return x_BCHW * kept_B1HW * (kept_B1HW.numel() / kept_B1HW.sum().clamp(min=1))


def _odd(length: int) -> int:
    return length if length % 2 else length - 1 or 1


class DropBlock(nn.Module):
    """`drop_block` in training, nothing in evaluation; it has no parameters and no state.

    Args:
        side: of a block.

    Attributes:
        probability: of now; `DropBlockRamp` moves it.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.probability = 0.0

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not self.training or not self.probability:
            return x_BCHW
        return drop_block(x_BCHW, self.probability, self.side)


class DropBlockRamp(pl.Callback):
    """Sets DropBlock behind the last two stages of the backbone, and its share before every step.

    The share is a function of the step's number alone, so that a resumed run needs to remember nothing.

    Args:
        config: `train.drop_block` of a recipe.
    """

    def __init__(self, config: DropBlockConfig) -> None:
        self.config = config
        self.drops: list[DropBlock] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put the modules into the backbone's graph."""
        del trainer, stage
        assert isinstance(pl_module, LesionTask)
        self.drops = insert_drop_blocks(pl_module.model, self.config.side)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the share."""
        del pl_module, batch, batch_idx
        batches, epochs = trainer.num_training_batches, trainer.max_epochs
        assert isinstance(batches, int)
        assert epochs is not None
        risen = min(1.0, trainer.global_step / max(1.0, self.config.ramp * batches * epochs))
        for drop in self.drops:
            drop.probability = self.config.probability * risen


def insert_drop_blocks(model: nn.Module, side: int) -> list[DropBlock]:
    """Put DropBlock behind the last stage of a model's backbone and behind the one before it.

    A stage is what layer-wise rates take for a block. Its output is what the next one begins with, wherever
    that is used, shortcuts too.

    Args:
        model: with a traced `backbone`.
        side: of a block.

    Raises:
        UserError: the backbone is of one stage.
    """
    graph_module = model.get_submodule("backbone")
    assert isinstance(graph_module, fx.GraphModule)
    values = stage_outputs(model)
    if len(values) < 2:
        raise UserError("train.drop_block needs a backbone of two stages or more")
    drops = []
    for place, value in enumerate(values[-2:]):
        drop = DropBlock(side).train(graph_module.training)
        name = f"drop_block_{place}"
        graph_module.add_submodule(name, drop)
        with graph_module.graph.inserting_after(value):
            dropped = graph_module.graph.call_module(name, (value,))
        for user in list(value.users):
            if user is not dropped:
                user.replace_input_with(value, dropped)
        drops.append(drop)
    graph_module.recompile()
    return drops


def stage_outputs(model: nn.Module) -> list[fx.Node]:
    """The nodes that the stages of a backbone end with, in their order; the last is the map at the cut.

    Args:
        model: with a traced `backbone`, whose last stage is no layer without a map.
    """
    graph_module = model.get_submodule("backbone")
    assert isinstance(graph_module, fx.GraphModule)
    nodes = list(graph_module.graph.nodes)
    stages = [name.removeprefix("backbone.") for name in backbone_blocks(model)]
    begin = [next((node for node in nodes if _is_in(node, stage)), None) for stage in stages]
    found = [_value(node.args[0]) for node in begin[1:] if node is not None]
    [out] = (node for node in nodes if node.op == "output")
    return list(dict.fromkeys([*found, _value(out.args[0])]))


def _is_in(node: fx.Node, stage: str) -> bool:
    target = str(node.target)
    return node.op == "call_module" and (target == stage or target.startswith(f"{stage}."))


def _value(found: Any) -> fx.Node:
    """The one node of an argument; feature extraction returns a dictionary or a list of one."""
    if isinstance(found, dict):
        [found] = found.values()
    elif isinstance(found, list | tuple):
        [found] = found
    assert isinstance(found, fx.Node)
    return found
