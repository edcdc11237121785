"""The same network in Keras: what our training is held against. Needs Keras, which dermlens itself does not.

Its backbone is cut from keras.applications, its head is the authors' (their Conv3D for Soft-Attention), its
weights are copied from ours. Keras's shapes are those of channels-last: kernels rows × columns × in × out.

B batch, C channels, H × W positions, K heads, M metadata width.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dermlens.models.classifier import LesionClassifier, MapHead
from dermlens.models.config import ModelConfig
from dermlens.models.metadata_branch import PaperBranch
from dermlens.models.soft_attention import OriginalKernel

PAPER_CUTS = {
    "densenet201": ("DenseNet201", "conv5_block29_1_relu"),
    "inception_resnet_v2": ("InceptionResNetV2", "batch_normalization_195"),
    "resnet50": ("ResNet50", "conv5_block3_out"),
    "resnet152": ("ResNet152", "conv5_block1_out"),
    "nasnet_large": ("NASNetLarge", "separable_conv_1_bn_normal_left5_18+"),
    "nasnet_mobile": ("NASNetMobile", "separable_conv_1_bn_normal_left5_12+"),
    "mobilenet_v2": ("MobileNetV2", "block_14_depthwise"),
    "mobilenet_v3_small": ("MobileNetV3Small", "expanded_conv_10_depthwise_bn+"),
    "mobilenet_v3_large": ("MobileNetV3Large", "expanded_conv_14_expand_bn+"),
}
"""The class in keras.applications, and the layer of the paper's cut there; `+`: the activation behind it."""

ATTENTION, METADATA, LOGITS = "soft_attention", "metadata", "logits"


def build_twin(model: LesionClassifier, config: ModelConfig, *, meta_width: int) -> Any:
    """The network of a paper's recipe in Keras, with our weights.

    Args:
        model: ours.
        config: of it: the paper's cut, the authors' kernel, flattened, their metadata branch.
        meta_width: M.

    Returns:
        A `keras.Model` from normalised pixels (B, S, S, 3) and metadata (B, M) to logits (B, classes), in
        Keras's default type of numbers.
    """
    import keras

    assert isinstance(model.head, MapHead)
    assert isinstance(model.head.branch, PaperBranch)
    kind, place = PAPER_CUTS[config.backbone]
    options = {"include_preprocessing": False} if "V3" in kind else {}
    whole = getattr(keras.applications, kind)(
        input_shape=(model.size, model.size, 3), weights=None, classifier_activation=None, **options
    )
    x_BHWC = whole.get_layer(place.rstrip("+")).output
    if place.endswith("+"):
        x_BHWC = next(layer.output for layer in whole.layers if layer.input is x_BHWC)
    meta_BM = keras.Input((meta_width,))
    logits_BC = _head(model, config, x_BHWC, meta_BM)
    twin = keras.Model([whole.input, meta_BM], logits_BC)
    copy_to(model, config, twin)
    return twin


def _head(model: LesionClassifier, config: ModelConfig, x_BHWC: Any, meta_BM: Any) -> Any:
    """The authors' head, from the map at the cut to logits."""
    from keras import layers, ops

    _, height, width, channels = x_BHWC.shape
    pre = layers.Conv3D(
        config.heads,
        (channels, 3, 3),
        strides=(1, 1, channels),
        padding="same",
        activation="relu",
        kernel_initializer="he_uniform",
        name=ATTENTION,
    )(layers.Reshape((height, width, channels, 1))(x_BHWC))
    alpha_BPK = layers.Softmax(axis=1)(layers.Reshape((height * width, config.heads))(pre))
    mass_BHWC = layers.Reshape((height, width, 1))(ops.sum(alpha_BPK, axis=-1))
    maps = [layers.MaxPooling2D(2, 2, padding="same")(one) for one in (x_BHWC, x_BHWC * mass_BHWC)]
    features = layers.Dropout(config.dropout)(layers.ReLU()(layers.Concatenate()(maps)))
    assert isinstance(model.head, MapHead)
    assert model.head.branch is not None
    branch = layers.Dense(model.head.branch.width, activation="relu", name=METADATA)(meta_BM)
    joined = layers.Concatenate()([layers.Flatten()(features), branch])
    return layers.Dense(model.head.linear.out_features, name=LOGITS)(joined)


def copy_to(model: LesionClassifier, config: ModelConfig, twin: Any) -> None:
    """Set every weight and statistic of the twin from ours."""
    state = {name: tensor.detach().double().clone() for name, tensor in model.state_dict().items()}
    wanted = to_keras(state, model, config)
    for weight in twin.weights:
        weight.assign(wanted.pop(_name(weight)))
    assert not wanted, f"not in Keras's network: {sorted(wanted)[:3]}"


def read_twin(twin: Any) -> dict[str, np.ndarray]:
    """The twin's weights and statistics by `layer/weight`, copied."""
    return {_name(weight): read_variable(weight) for weight in twin.weights}


def read_variable(variable: Any) -> np.ndarray:
    """A copy of a Keras variable; Keras's own conversion of PyTorch's tensors warns under NumPy 2."""
    value = variable.value
    return value.detach().cpu().numpy().copy() if isinstance(value, Tensor) else np.array(value)


def to_keras(state: dict[str, Tensor], model: LesionClassifier, config: ModelConfig) -> dict[str, np.ndarray]:
    """Our state dict, or any tensors of its shapes, as `read_twin` names and shapes the twin's.

    Args:
        state: tensors by our names.
        model: whose they are.
        config: of it.
    """
    modules = dict(model.backbone.named_modules())
    found: dict[str, np.ndarray] = {}
    for row in _layers_of(config.backbone):
        module = modules.get(row["module"])
        if module is not None:
            own = {name: state[f"backbone.{row['module']}.{name}"] for name, _ in _tensors(module)}
            found |= {f"{row['keras_layer']}/{name}": value for name, value in _as_keras(module, own).items()}
    head = model.head
    assert isinstance(head, MapHead)
    assert head.attention is not None
    assert isinstance(head.attention.kernel, OriginalKernel)
    kernel = state["head.attention.kernel.weight"]  # rows × columns × channels × heads
    found[f"{ATTENTION}/kernel"] = kernel.unsqueeze(3).numpy()
    found[f"{ATTENTION}/bias"] = state["head.attention.kernel.bias"].numpy()
    found[f"{METADATA}/kernel"] = state["head.branch.linear.weight"].T.numpy()
    found[f"{METADATA}/bias"] = state["head.branch.linear.bias"].numpy()
    found[f"{LOGITS}/kernel"] = _flattened_as_keras(state["head.linear.weight"], model).T.numpy()
    found[f"{LOGITS}/bias"] = state["head.linear.bias"].numpy()
    return found


def _flattened_as_keras(weight: Tensor, model: LesionClassifier) -> Tensor:
    """The last layer's weights, (classes, features): Keras flattens H × W × C, we C × H × W."""
    assert isinstance(model.head, MapHead)
    assert model.head.branch is not None
    channels, height, width = model.feature_shape
    image, rest = torch.split(
        weight, [weight.shape[1] - model.head.branch.width, model.head.branch.width], dim=1
    )
    shape = (len(weight), 2 * channels, -(-height // 2), -(-width // 2))
    return torch.cat([image.reshape(shape).permute(0, 2, 3, 1).flatten(1), rest], dim=1)


def _as_keras(module: nn.Module, own: dict[str, Tensor]) -> dict[str, np.ndarray]:
    if isinstance(module, nn.BatchNorm2d):
        names = {
            "weight": "gamma",
            "bias": "beta",
            "running_mean": "moving_mean",
            "running_var": "moving_variance",
        }
        return {names[name]: tensor.numpy() for name, tensor in own.items()}
    assert isinstance(module, nn.Conv2d)
    kernel = own["weight"]
    order = (2, 3, 0, 1) if module.groups > 1 else (2, 3, 1, 0)
    found = {"kernel": kernel.permute(order).numpy()}
    return found | ({"bias": own["bias"].numpy()} if "bias" in own else {})


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [(name, tensor) for name, tensor in tensors if name != "num_batches_tracked"]


def _layers_of(backbone: str) -> list[dict[str, str]]:
    table = files("dermlens.models.pretrained") / "keras_layers" / f"{backbone}.csv"
    return list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))


def _name(weight: Any) -> str:
    """`…/layer/weight` → `layer/weight`."""
    return "/".join(weight.path.split("/")[-2:])
