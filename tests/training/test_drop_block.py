"""DropBlock drops whole blocks, keeps the mean, stands still in evaluation, and rises as planned."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.sections import CrossEntropyConfig, DropBlockConfig, OptimizerConfig
from dermlens.training.drop_block import DropBlock, DropBlockRamp, drop_block, insert_drop_blocks
from dermlens.training.losses import make_loss
from dermlens.training.task import LesionTask


def network():
    config = ModelConfig(backbone="mobilenet_v3_small", attention="none", pool="gap", metadata="none")
    return build_classifier(config, num_classes=3, meta_width=0, size=64)


def test_blocks_are_square_and_the_same_in_all_channels():
    torch.manual_seed(0)
    out_BCHW = drop_block(torch.ones(8, 4, 31, 31), 0.05, 5)
    dropped_BHW = out_BCHW[:, 0] == 0
    assert (out_BCHW == out_BCHW[:, :1]).all()
    inner = dropped_BHW[:, 2:-2, 2:-2]
    # every dropped position belongs to a whole 5 × 5 block about some centre, cut off at the edges
    padded = torch.nn.functional.pad(dropped_BHW.float(), (2, 2, 2, 2), value=1.0)[:, None]
    centres = torch.nn.functional.avg_pool2d(padded, 5, stride=1) >= 1 - 1e-6
    again = torch.nn.functional.max_pool2d(centres.float(), 5, stride=1, padding=2)[:, 0] > 0
    assert (again == dropped_BHW).all()
    assert inner.any()


def test_the_mean_of_the_mask_stays_one_and_the_share_is_the_one_asked_for():
    torch.manual_seed(1)
    x_BCHW = torch.ones(64, 1, 28, 28)
    out_BCHW = drop_block(x_BCHW, 0.1, 5)
    assert out_BCHW.mean().item() == pytest.approx(1, abs=1e-5)
    assert (out_BCHW == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("size", [(4, 4), (1, 1), (2, 7)])
def test_a_block_is_no_larger_than_the_map(size):
    torch.manual_seed(2)
    assert torch.isfinite(drop_block(torch.ones(4, 2, *size), 0.9, 5)).all()


def test_all_positions_dropped_give_zeros_and_no_infinity():
    assert (drop_block(torch.ones(2, 1, 3, 3), 200.0, 3) == 0).all()


def test_in_evaluation_and_at_a_share_of_zero_nothing_happens():
    model, x_BCHW = network(), torch.rand(2, 3, 64, 64) * 255
    model.eval()
    before = model(x_BCHW)[0]
    names = set(model.state_dict())
    drops = insert_drop_blocks(model, 3)
    for drop in drops:
        drop.probability = 0.5
    torch.testing.assert_close(model(x_BCHW)[0], before)
    assert set(model.state_dict()) == names  # a model that was trained with it is saved as any other


def test_it_stands_behind_the_last_two_stages():
    model = network().train()
    seen = []
    drops = insert_drop_blocks(model, 3)
    for drop in drops:
        drop.probability = 0.3
        drop.register_forward_hook(lambda module, args, out: seen.append((args[0].shape[1], out)))
    torch.manual_seed(3)
    map_BCHW = model.backbone(model.normalize(torch.rand(4, 3, 64, 64) * 255))
    assert [channels for channels, _ in seen] == [96, 576]  # of MobileNetV3-Small's last two stages
    torch.testing.assert_close(map_BCHW, seen[1][1])
    assert (seen[0][1] == 0).all(1).any()  # whole positions are gone


def test_the_share_rises_with_the_step_and_then_stays():
    config = DropBlockConfig(probability=0.2, ramp=0.5)
    loss = make_loss(CrossEntropyConfig(), torch.ones(3))
    task = LesionTask(network(), loss=loss, plain_loss=loss, optimizer=OptimizerConfig(), seed=0)
    ramp = DropBlockRamp(config)
    ramp.setup(SimpleNamespace(), task, "fit")
    shares = []
    for step in (0, 5, 10, 19, 5):  # back to 5, as after a resume
        trainer = SimpleNamespace(num_training_batches=10, max_epochs=2, global_step=step)
        ramp.on_train_batch_start(trainer, task, {}, 0)
        assert {drop.probability for drop in ramp.drops} == {ramp.drops[0].probability}
        shares.append(ramp.drops[0].probability)
    assert shares == pytest.approx([0, 0.1, 0.2, 0.2, 0.1])
    assert isinstance(ramp.drops[0], DropBlock)


def test_a_block_has_a_centre():
    with pytest.raises(ValidationError, match="side 4"):
        DropBlockConfig(side=4)
