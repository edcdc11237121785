"""The ten published backbones, and MobileNet, InceptionV3, EfficientNet-Lite: a row each. Free of torch.

A row says where a network comes from, where it is cut, what its input looks like, how the library's network
is turned into the Keras one, and what was published of it. A cut is the name of a module in the library's
network (or of an operation in its graph): the cut network ends with its output. Sources: the authors'
notebooks (layer and count of every cut), keras.applications (form, normalisation, uncut counts), the paper's
Table 4 (depth).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from dermlens.errors import UserError, nearest, require
from dermlens.plugins import is_outside, resolve

Cut = Literal["paper", "full", "plain"]
AttentionKernel = Literal["original", "corrected"]
Placebo = Literal["uniform", "frozen"]
PixelNormalization = Literal["weights", "half"]
ChannelOrder = Literal["rgb", "bgr"]
Form = Literal["keras", "library"]


@dataclass(frozen=True, slots=True)
class Normalization:
    """(x − mean) / std on RGB pixels of 0 to 255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


HALF = Normalization((127.5,) * 3, (127.5,) * 3)  # x/127.5 − 1
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE = Normalization((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True)
class KerasForm:
    """What turns the library's network into the one of keras.applications, and how Keras trains that.

    Attributes:
        eps: ε of every batch norm; none leaves the library's.
        momentum: what a step leaves of the moving statistics of batch norm; PyTorch's is 1 minus this.
        dropout: before the last layer of the uncut network.
        dropout_behind: the library's module whose output is dropped.
        he_normal: convolutions start by `he_normal`, but for separable ones; else by `glorot_uniform`.
        same_padding: strided convolutions pad as TensorFlow's SAME does, more at the bottom and right.
        zero_padded_pools: NASNet's strided pools see zeros around the map, not nothing.
        stride_first: a residual bottleneck strides in its first 1×1 convolution, not in its 3×3.
        normalization: of the input, as the Keras weights expect it; none for the library's.
    """

    eps: float | None = None
    momentum: float = 0.99
    dropout: float = 0.0
    dropout_behind: str = ""
    he_normal: bool = False
    same_padding: bool = False
    zero_padded_pools: bool = False
    stride_first: bool = False
    normalization: Normalization | None = None


Counts = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Published:
    """Printed counts, (trainable, total), Keras's total having the running statistics in it.

    Attributes:
        metadata: the cut network with Soft-Attention and the metadata branch.
        image_only: the same without the branch.
        image_only_pool: how the image-only network was pooled.
        plain: the uncut network with a linear layer on its 1000 logits.
        uncut: total of the uncut network with its 1000 logits.
        depth: layers with weights of the uncut network, as the paper's Table 4 has it.
    """

    metadata: Counts | None = None
    image_only: Counts | None = None
    image_only_pool: Literal["flatten", "gap"] = "flatten"
    plain: Counts | None = None
    uncut: int | None = None
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class Backbone:
    """One row.

    Attributes:
        source: who builds the uncut network; `features` is timm without what follows the last feature map,
            `joined` several rows at once.
        model: its name there.
        size: side of the input in pixels.
        normalization: of the input, as the library's weights expect it.
        cuts: module whose output is the feature map, for `paper` and `full`.
        keras: see KerasForm.
        ends_before_activation: the paper's cut takes a fused batch norm without its activation.
        scaled_norms: batch norms learn a scale; InceptionResNetV2's do not.
        plain: it ends in 1000 logits, so the plain classifier exists.
        tail: what follows the attention at the paper's cut, where that is in the middle of the network.
        published: see Published.
        lacks: parameters that the published network has and ours does not, by cut.
        reason: why it lacks them.
        depth_reason: why its depth is not the published one.
    """

    source: Literal["timm", "torchvision", "dermlens", "features", "outside", "joined"]
    model: str
    size: int
    normalization: Normalization
    cuts: dict[str, str]
    keras: KerasForm = KerasForm()
    ends_before_activation: bool = False
    scaled_norms: bool = True
    plain: bool = True
    tail: Literal["vgg16"] | None = None
    published: Published = Published()
    lacks: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    depth_reason: str = ""

    def input_normalization(self, form: Form) -> Normalization:
        """The normalisation that goes with a form."""
        if form == "keras" and self.keras.normalization is not None:
            return self.keras.normalization
        return self.normalization

    def has_cut(self, cut: Cut) -> bool:
        """Whether the network can be cut there."""
        return self.plain if cut == "plain" else cut in self.cuts


_NO_BIAS = "Keras's convolutions have biases, which the batch norm behind each cancels; these have none"

BACKBONES: dict[str, Backbone] = {
    "densenet201": Backbone(
        "torchvision",
        "densenet201",
        224,
        IMAGENET,
        {"paper": "features.denseblock4.denselayer29.relu2", "full": "relu"},
        keras=KerasForm(eps=1.001e-5),
        published=Published(
            metadata=(17_382_935, 17_596_250),
            image_only=(17_264_151, 17_477_463),
            uncut=20_242_984,
            depth=402,
        ),
    ),
    "inception_resnet_v2": Backbone(
        "timm",
        "inception_resnet_v2",
        299,
        HALF,
        {"paper": "repeat_2.8.branch0.bn", "full": "conv2d_7b.bn"},
        keras=KerasForm(eps=1e-3),
        ends_before_activation=True,
        scaled_norms=False,
        published=Published(
            metadata=(47_599_671, 47_654_074),
            image_only=(47_480_887, 47_535_287),
            uncut=55_873_736,
            depth=449,
        ),
    ),
    "resnet50": Backbone(
        "timm",
        "resnet50",
        224,
        IMAGENET,
        {"paper": "layer4.2.act3", "full": "layer4.2.act3"},
        keras=KerasForm(eps=1.001e-5, stride_first=True, normalization=CAFFE),
        published=Published(
            metadata=(24_407_063, 24_460_186),
            image_only=(23_858_199, 23_911_319),
            image_only_pool="gap",
            uncut=25_636_712,
            depth=107,
        ),
        lacks={"paper": 26_560, "full": 26_560, "plain": 26_560},
        reason=_NO_BIAS,
    ),
    "resnet152": Backbone(
        "timm",
        "resnet152",
        224,
        IMAGENET,
        {"paper": "layer4.0.act3", "full": "layer4.2.act3"},
        keras=KerasForm(eps=1.001e-5, stride_first=True, normalization=CAFFE),
        published=Published(
            metadata=(50_160_663, 50_299_802),
            image_only=(49_611_799, 49_750_935),
            image_only_pool="gap",
            uncut=60_419_944,
            depth=311,
        ),
        lacks={"paper": 69_568, "full": 75_712, "plain": 75_712},
        reason=_NO_BIAS,
    ),
    "nasnet_large": Backbone(
        "timm",
        "nasnetalarge",
        331,
        HALF,
        {"paper": "cell_17.comb_iter_4_left.act_2", "full": "act"},
        keras=KerasForm(eps=1e-3, momentum=0.9997, he_normal=True, zero_padded_pools=True),
        published=Published(
            metadata=(78_389_773, 78_573_004),
            image_only=(78_270_989, 78_454_217),
            uncut=88_949_818,
            depth=533,
        ),
    ),
    "nasnet_mobile": Backbone(
        "dermlens",
        "nasnet_mobile",
        224,
        HALF,
        {"paper": "cells.15.left5.act_2", "full": "act"},
        keras=KerasForm(eps=1e-3, momentum=0.9997, he_normal=True),
        published=Published(
            metadata=(3_922_873, 3_956_094),
            image_only=(3_804_089, 3_837_307),
            uncut=5_326_716,
            depth=308,
        ),
        depth_reason="Keras's documentation says 389, the paper's Table 4 308",
    ),
    "mobilenet_v2": Backbone(
        "torchvision",
        "mobilenet_v2",
        224,
        IMAGENET,
        {"paper": "features.15.conv.1.0", "full": "features.18.2"},
        keras=KerasForm(eps=1e-3, momentum=0.999, same_padding=True, normalization=HALF),
        published=Published(
            metadata=(1_334_039, 1_354_714),
            image_only=(1_215_255, 1_235_927),
            uncut=3_538_984,
            depth=105,
        ),
    ),
    "mobilenet_v3_small": Backbone(
        "timm",
        "tf_mobilenetv3_small_100",
        224,
        HALF,
        {"paper": "blocks.4.2.bn2", "full": "blocks.5.0.bn1"},
        keras=KerasForm(eps=1e-3, momentum=0.999, dropout=0.2, dropout_behind="flatten"),
        published=Published(
            metadata=(979_239, 990_010),
            image_only=(860_455, 871_223),
            uncut=2_554_968,
            depth=88,
        ),
    ),
    "mobilenet_v3_large": Backbone(
        "timm",
        "tf_mobilenetv3_large_100",
        224,
        HALF,
        {"paper": "blocks.5.2.bn1", "full": "blocks.6.0.bn1"},
        keras=KerasForm(eps=1e-3, momentum=0.999, dropout=0.2, dropout_behind="flatten"),
        published=Published(
            metadata=(2_646_679, 2_666_922),
            image_only=(2_527_895, 2_548_135),
            plain=(5_490_039, 5_514_439),
            uncut=5_507_432,
            depth=118,
        ),
        depth_reason="the layers with weights are 110 (64 convolutions, 46 batch norms); Table 4 says 118",
    ),
    "vgg16": Backbone(
        "dermlens",
        "vgg16_authors",
        224,
        HALF,
        {"paper": "block4.bn3", "full": "block5.bn3"},
        keras=KerasForm(eps=1e-3, he_normal=True),
        plain=False,
        tail="vgg16",
        published=Published(image_only=(62_642_263, 62_650_711)),
    ),
    "mobilenet": Backbone(
        "timm",
        "mobilenetv1_100",
        224,
        HALF,
        {},
        keras=KerasForm(eps=1e-3, dropout=1e-3, dropout_behind="global_pool", same_padding=True),
        published=Published(uncut=4_253_864, depth=55),
    ),
    "inception_v3": Backbone(
        "timm",
        "inception_v3",
        299,
        HALF,
        {"full": "Mixed_7c"},
        keras=KerasForm(eps=1e-3),
        scaled_norms=False,
        published=Published(uncut=23_851_784),
    ),
    "efficientnet_lite0": Backbone("timm", "tf_efficientnet_lite0", 224, HALF, {"full": "bn2"}),
    "efficientnet_lite1": Backbone("timm", "tf_efficientnet_lite1", 240, HALF, {"full": "bn2"}),
    "efficientnet_lite2": Backbone("timm", "tf_efficientnet_lite2", 260, HALF, {"full": "bn2"}),
}

METADATA_BRANCHES: dict[str, str] = {
    "none": "no metadata",
    "paper": "one linear layer of 4096, ReLU, with the image features (the paper)",
    "gessert": "two layers of 256 with batch norm, ReLU, dropout, inputs dropped (Gessert et al. 2020)",
    "film": "scales and shifts each channel of the feature map (Perez et al. 2018)",
    "metablock": "gates the feature map (Pacheco and Krohling 2021)",
}


JOINED = "+"
"""Between the names of backbones whose maps are joined, channel behind channel: `mobilenet_v2+resnet50`."""
TIMM = "timm:"
"""Before the name of any network of timm: `timm:resnet18`, or `timm:resnet18@layer3` to cut it there."""


def row_of(name: str) -> Backbone:
    """The row of a backbone: of the table, of timm, or of a plugin.

    Args:
        name: a key of BACKBONES, `timm:NAME`, `timm:NAME@NODE`, an import path or an entry point; or several
            of the table's, joined by `+`, each of which normalises the pixels for itself.

    Raises:
        UserError: there is none of that name, or it may not be resolved.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith(TIMM):
        return _of_timm(name)
    if JOINED in name:
        size = max(row_of(part).size for part in name.split(JOINED))
        return Backbone("joined", name, size, Normalization((0,) * 3, (1,) * 3), {"full": ""}, plain=False)
    if not is_outside("backbone", name):
        raise UserError(f"model.backbone {name} is not a backbone{nearest(name, BACKBONES)}")
    found = resolve("backbone", name, "model.backbone")
    return Backbone(
        "outside", name, found.size, Normalization(found.mean, found.std), {"full": ""}, plain=False
    )


@cache
def _of_timm(name: str) -> Backbone:
    """A network of timm, its input as timm's own configuration has it."""
    timm = require("timm", "train")
    model, _, node = name.removeprefix(TIMM).partition("@")
    if not timm.is_model(model):
        raise UserError(f"model.backbone {name}: timm has no {model}{nearest(model, timm.list_models())}")
    facts: Mapping[str, Any] = timm.get_pretrained_cfg(model).to_dict()
    scaled = [tuple(255 * float(number) for number in facts[key]) for key in ("mean", "std")]
    mean, std = scaled
    size = int(facts["input_size"][-1])
    return Backbone("features", model, size, Normalization(mean, std), {"full": node}, plain=False)  # type: ignore[arg-type]
