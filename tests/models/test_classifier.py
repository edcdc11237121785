"""Every network of the table, at every cut: one forward, one backward, small images."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from dermlens.errors import UserError
from dermlens.models.classifier import build_classifier, early_layer
from dermlens.models.soft_attention import OriginalKernel
from dermlens.models.table import METADATA_BRANCHES
from dermlens.testing import check_backbone

from .conftest import EVERY_CUT, META_WIDTH, SMALLEST, config_of

SMALL = {"backbone": "mobilenet_v3_small", "cut": "paper"}


def inputs(size: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    return pixels.to(memory_format=torch.channels_last), torch.randn(batch, META_WIDTH)


def build(size: int, **settings: object):
    config = config_of(settings.pop("backbone"), settings.pop("cut"), **settings)
    return build_classifier(config, num_classes=7, meta_width=META_WIDTH, size=size)


HEAVY = {"nasnet_large", "resnet152", "inception_resnet_v2", "vgg16"}


@pytest.mark.parametrize(
    ("name", "cut"), [case for case in EVERY_CUT if case[1] == "paper" or case[0] not in HEAVY]
)
def test_trains_and_predicts_and_is_saved(name, cut):
    size = SMALLEST.get(name, 64) + 5  # odd, so that the head's width is wrong where a padding is
    kernel = "original" if cut == "paper" else "corrected"
    check_backbone(config_of(name, cut, **({} if cut == "plain" else {"attention": kernel})), size=size)


@pytest.mark.parametrize("kernel", ["none", "original", "corrected"])
@pytest.mark.parametrize("branch", METADATA_BRANCHES)
@pytest.mark.parametrize("pool", ["flatten", "gap"])
def test_every_head(kernel, branch, pool):
    model = build(96, **SMALL, attention=kernel, metadata=branch, pool=pool)
    x_BCHW, meta_BM = inputs(96)
    logits_BC, found = model(x_BCHW, meta_BM)
    assert ("alpha_BKHW" in found) == (kernel != "none")
    logits_BC.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    looked_at = {name for name, p in model.named_parameters() if p.grad.abs().sum() > 0}
    assert any("branch" in name for name in looked_at) == (branch != "none")
    model.eval()
    changed = meta_BM + 1
    same = torch.equal(model(x_BCHW, meta_BM)[0], model(x_BCHW, changed)[0])
    assert same == (branch in ("none", "film"))  # FiLM starts as the identity


@pytest.mark.parametrize("kernel", ["none", "corrected"])
@pytest.mark.parametrize("branch", [name for name in METADATA_BRANCHES if name != "none"])
def test_features_are_of_the_image_and_not_of_the_patient(kernel, branch):
    model = build(96, **SMALL, attention=kernel, metadata=branch, pool="gap").eval()
    x_BCHW, meta_BM = inputs(96)
    with torch.inference_mode():
        if branch == "film":  # which starts as the identity
            model.head.branch.linear.weight.normal_()
        logits_BC, found = model(x_BCHW, meta_BM)
        other_BC, other = model(x_BCHW, meta_BM + 1)
    assert not torch.equal(logits_BC, other_BC)
    assert torch.equal(found["features_BD"], other["features_BD"])
    assert not torch.equal(found["features_BD"][0], found["features_BD"][1])


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0", "densenet201", "vgg16"])
def test_a_watched_layer_is_described_after_the_features(name):
    """Whose map has an eighth of the side; the answer is as before, and training does not look."""
    network = build(96, backbone=name, cut="full" if name != "vgg16" else "paper", metadata="none").eval()
    x_BCHW, _ = inputs(96)
    with torch.inference_mode():
        logits_BC, plain = network(x_BCHW)
        network.watched = early_layer(network.backbone, 96)
        caught = []
        handle = network.backbone.get_submodule(network.watched).register_forward_hook(
            lambda _layer, _given, out: caught.append(out.clone())
        )
        again_BC, found = network(x_BCHW)
        handle.remove()
    (map_BCHW,) = caught
    assert map_BCHW.shape[2:] == (12, 12)
    expected_BE = torch.cat([map_BCHW.mean((2, 3)), map_BCHW.std((2, 3), correction=0)], dim=1)
    wide = plain["features_BD"].shape[1]
    assert torch.equal(again_BC, logits_BC)
    assert torch.equal(found["features_BD"][:, :wide], plain["features_BD"])
    assert network.head.features == wide
    torch.testing.assert_close(found["features_BD"][:, wide:], expected_BE, atol=2e-3, rtol=1e-3)
    assert network.train()(x_BCHW)[1]["features_BD"].shape[1] == wide


def test_idle_weights_of_the_original_kernel_alone_get_no_gradient():
    model = build(64, **SMALL, attention="original")
    x_BCHW, meta_BM = inputs(64, batch=4)
    model(x_BCHW, meta_BM)[0].square().sum().backward()
    kernel = model.head.attention.kernel
    assert isinstance(kernel, OriginalKernel)
    rows = (kernel.weight.grad.abs().amax(dim=(1, 2, 3)) > 0).nonzero().flatten()
    middle, height = (576 - 1) // 2, model.feature_shape[1]
    assert rows.tolist() == list(range(middle - height + 1, middle + height))


@pytest.mark.parametrize(
    ("name", "pool", "trainable"),
    [
        ("densenet201", "flatten", 17_260_935),
        ("inception_resnet_v2", "flatten", 47_496_231),
        ("resnet50", "gap", 23_548_935 - 26_560),
        ("vgg16", "flatten", 60_209_223),
    ],
)
def test_without_attention_it_is_the_network_of_reference_14(name, pool, trainable):
    """The counts that the code of the paper's reference [14] printed without Soft-Attention."""
    with torch.device("meta"):
        config = config_of(name, "paper", attention="none", metadata="none", pool=pool)
        model = build_classifier(config, num_classes=7, meta_width=0)
    assert sum(p.numel() for p in model.parameters()) == trainable


def test_head_is_figure_7():
    """Max-pool the map and the attended map, join, ReLU, flatten, metadata behind."""
    model = build(96, **SMALL).eval()
    x_BCHW, meta_BM = inputs(96)
    logits_BC, found = model(x_BCHW, meta_BM)
    map_BCHW = model.backbone((x_BCHW.float() - 127.5) / 127.5)
    attended_BCHW = map_BCHW * found["alpha_BKHW"].sum(1, keepdim=True)
    pooled = [F.max_pool2d(F.pad(m, (0, 1, 0, 1), value=-torch.inf), 2) for m in (map_BCHW, attended_BCHW)]
    image_BD = torch.relu(torch.cat(pooled, 1)).flatten(1)
    meta_BD = torch.relu(F.linear(meta_BM, *model.head.branch.linear.parameters()))
    torch.testing.assert_close(found["features_BD"], image_BD)
    all_BD = torch.cat([image_BD, meta_BD], 1)
    torch.testing.assert_close(logits_BC, F.linear(all_BD, *model.head.linear.parameters()))


def test_normalisation_is_inside_and_the_rows_own():
    def mean_std(**settings):
        model = build(64, **settings, metadata="none", attention="none")
        return model.normalize.mean.flatten().tolist(), model.normalize.std.flatten().tolist()

    imagenet = [0.485 * 255, 0.456 * 255, 0.406 * 255]
    assert mean_std(**SMALL) == ([127.5] * 3, [127.5] * 3)
    assert mean_std(backbone="densenet201", cut="paper")[0] == pytest.approx(imagenet)
    assert mean_std(backbone="densenet201", cut="paper", normalization="half")[0] == [127.5] * 3
    assert mean_std(backbone="mobilenet_v2", cut="paper")[0] == [127.5] * 3
    assert mean_std(backbone="mobilenet_v2", cut="paper", form="library")[0] == pytest.approx(imagenet)


def test_bgr_is_the_same_network_with_blue_first():
    # Densenet's mean and deviation differ by colour, so turning pixels after them would not do.
    torch.manual_seed(0)
    rgb = build(64, backbone="densenet201", cut="paper", metadata="none").eval()
    bgr = build(64, backbone="densenet201", cut="paper", metadata="none", channel_order="bgr").eval()
    bgr.load_state_dict(rgb.state_dict())
    x_BCHW, _ = inputs(64)
    with torch.inference_mode():
        torch.testing.assert_close(bgr(x_BCHW)[0], rgb(x_BCHW.flip(1))[0])
        assert not torch.allclose(bgr(x_BCHW)[0], rgb(x_BCHW)[0])


def test_deep_copy_computes_the_same():
    model = build(64, **SMALL).eval()
    x_BCHW, meta_BM = inputs(64)
    assert torch.equal(copy.deepcopy(model)(x_BCHW, meta_BM)[0], model(x_BCHW, meta_BM)[0])


def test_batch_of_one_trains_with_every_branch():
    for branch in METADATA_BRANCHES:
        model = build(64, **SMALL, metadata=branch)
        x_BCHW, meta_BM = inputs(64, batch=1)
        assert torch.isfinite(model(x_BCHW, meta_BM)[0]).all()


def test_absent_metadata_is_named():
    model = build(64, **SMALL)
    with pytest.raises(ValueError, match="metadata branch"):
        model(inputs(64)[0])
    with pytest.raises(UserError, match=r"model\.metadata paper"):
        build_classifier(config_of("mobilenet_v3_small", "paper"), num_classes=7, meta_width=0, size=64)


def test_image_too_small_for_the_network_is_named():
    with pytest.raises(UserError, match=r"data\.size 48.*inception_resnet_v2.*299"):
        build(48, backbone="inception_resnet_v2", cut="full")


def test_other_class_lists_and_metadata_widths():
    model = build_classifier(config_of("mobilenet_v3_small", "full"), num_classes=3, meta_width=4, size=64)
    assert model(inputs(64)[0], torch.zeros(2, 4))[0].shape == (2, 3)
