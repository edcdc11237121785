"""Are our networks those of keras.applications? The same random weights and input in both, outputs compared.

    pip install keras jax
    python benchmarks/keras_agreement.py [BACKBONE …]

For each backbone of the table that Keras has: the logits of the uncut network, the feature map at the paper's
cut (named in Keras by its layer), and, for contrast, the logits of the library's form. The numbers are
max|ours − Keras| / max|Keras|; 1e-6 is rounding. Written to docs/results/keras_agreement.csv.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dermlens.files import atomic_path
from dermlens.models.cuts import build_backbone
from dermlens.models.table import BACKBONES
from paper.keras_twin import PAPER_CUTS

os.environ.setdefault("KERAS_BACKEND", "jax")
RESULTS = Path(__file__).parents[1] / "docs" / "results" / "keras_agreement.csv"

Layers = dict[str, dict[str, np.ndarray]]  # Keras layer → weight → values

KERAS: dict[str, tuple[str, str | None]] = {**PAPER_CUTS, "mobilenet": ("MobileNet", None)}
"""The class in keras.applications, and the layer of the paper's cut there."""


def run_keras(name: str) -> tuple[Layers, np.ndarray, list[np.ndarray]]:
    """Random weights and statistics, an input (1, S, S, 3), and [logits, feature map]."""
    import keras

    kind, place = KERAS[name]
    keras.utils.clear_session()  # layer numbers start anew
    options = {"include_preprocessing": False} if "V3" in kind else {}
    model = getattr(keras.applications, kind)(weights=None, classifier_activation=None, **options)
    rng = np.random.default_rng(0)
    layers: Layers = {}
    for layer in model.layers:
        values = {}
        for weight, value in zip(layer.weights, layer.get_weights(), strict=True):
            key = weight.path.rpartition("/")[2]
            if key in ("gamma", "moving_variance"):
                value = rng.uniform(0.5, 1.5, value.shape)
            elif value.ndim == 1:
                value = rng.normal(0, 0.1, value.shape)
            values[key] = value.astype(np.float32)
        if values:
            layer.set_weights(list(values.values()))
            layers[layer.name] = values
    outputs = [model.output]
    if place is not None:
        tensor = model.get_layer(place.rstrip("+")).output
        if place.endswith("+"):
            tensor = next(layer.output for layer in model.layers if layer.input is tensor)
        outputs.append(tensor)
    size = BACKBONES[name].size
    x_BHWC = rng.normal(0, 0.5, (1, size, size, 3)).astype(np.float32)
    found = keras.Model(model.input, outputs).predict(x_BHWC, verbose=0)
    return layers, x_BHWC, list(found) if isinstance(found, list | tuple) else [found]


def names_in_order(layers: Layers, network: nn.Module) -> Iterator[tuple[str, str]]:
    """The mobile networks have no branches with weights: both sides run in one order."""
    modules = dict(network.named_modules())
    called = [str(node.target) for node in network.graph.nodes if node.op == "call_module"]
    yield from zip([name for name in called if _owns(modules[name])], layers, strict=True)


def names_resnet(layers: Layers, network: nn.Module) -> Iterator[tuple[str, str]]:
    del network
    for layer, values in layers.items():
        if layer.endswith("_bn"):  # the bias in front of a batch norm moves its mean
            values["moving_mean"] = values["moving_mean"] - layers[layer[:-2] + "conv"]["bias"]
        if found := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer):
            stage, block, number, kind = found.groups()
            part = f"{kind}{number}" if number != "0" else f"downsample.{int(kind == 'bn')}"
            yield f"layer{int(stage) - 1}.{int(block) - 1}.{part}", layer
        else:
            yield {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}[layer], layer


def names_densenet(layers: Layers, network: nn.Module) -> Iterator[tuple[str, str]]:
    del network
    ends = {"conv1_conv": "features.conv0", "conv1_bn": "features.norm0", "bn": "features.norm5"}
    parts = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}
    for layer in layers:
        if found := re.fullmatch(r"conv(\d)_block(\d+)_(\d_\w+)", layer):
            block, number, part = found.groups()
            yield f"features.denseblock{int(block) - 1}.denselayer{number}.{parts[part]}", layer
        elif found := re.fullmatch(r"pool(\d)_(conv|bn)", layer):
            yield f"features.transition{int(found[1]) - 1}.{'conv' if found[2] == 'conv' else 'norm'}", layer
        else:
            yield ends.get(layer, "classifier"), layer


def names_inception(layers: Layers, network: nn.Module) -> Iterator[tuple[str, str]]:
    """Keras numbers its unnamed layers as they are created, which is the order of registration here."""
    ours = [name for name, module in _create_uncut("inception_resnet_v2").named_modules() if _owns(module)]
    assert set(ours) == {name for name, module in network.named_modules() if _owns(module)}
    for kind, end in (("conv2d", ".conv"), ("batch_normalization", ".bn")):
        numbered = [layer for layer in layers if re.fullmatch(rf"{kind}(_\d+)?", layer)]
        numbered.sort(key=lambda layer: int((re.search(r"\d+$", layer.removeprefix("conv2d")) or [-1])[0]))
        plain = [name for name in ours if name.endswith(end) and not name.startswith("conv2d_7b")]
        yield from zip(plain, numbered, strict=True)
    yield from {"conv2d_7b.conv": "conv_7b", "conv2d_7b.bn": "conv_7b_bn", "classif": "predictions"}.items()
    stacks = {"35": "repeat", "17": "repeat_1", "8": "repeat_2"}
    for layer in layers:
        if found := re.fullmatch(r"block(35|17|8)_(\d+)_conv", layer):
            last = found.groups() == ("8", "10")
            yield "block8.conv2d" if last else f"{stacks[found[1]]}.{int(found[2]) - 1}.conv2d", layer


_TIMM_BRANCH = {
    "reduction_left1": "comb_iter_0_left",
    "reduction_right1": "comb_iter_0_right",
    "reduction_right2": "comb_iter_1_right",
    "reduction_right3": "comb_iter_2_right",
    "reduction_left4": "comb_iter_4_left",
    "normal_left1": "comb_iter_0_left",
    "normal_right1": "comb_iter_0_right",
    "normal_left2": "comb_iter_1_left",
    "normal_right2": "comb_iter_1_right",
    "normal_left5": "comb_iter_4_left",
}
_NASNET = {  # Keras: ours, timm's
    "conv_1": ("squeeze.1", "conv_1x1.conv"),
    "bn_1": ("squeeze.2", "conv_1x1.bn"),
    "adjust_conv_1": ("adjust.even", "path_1.conv"),
    "adjust_conv_2": ("adjust.odd", "path_2.conv"),
    "adjust_conv_projection": ("adjust.1", "conv_prev_1x1.conv"),
}


def names_nasnet(layers: Layers, network: nn.Module) -> Iterator[tuple[str, str]]:
    large = hasattr(network, "cell_stem_0")
    repeats = 6 if large else 4
    cells, ours, normal = ["stem_1", "stem_2"], ["cell_stem_0", "cell_stem_1"], 0
    for stack in range(3):
        if stack:
            cells.append(f"reduce_{stack * repeats}")
            ours.append(f"reduction_cell_{stack - 1}")
        for _ in range(repeats):
            cells.append(str(normal + (stack > 0)))  # Keras leaves one number out
            ours.append(f"cell_{normal}")
            normal += 1
    ends = {
        "stem_conv1": ("stem_conv", "conv0.conv"),
        "stem_bn1": ("stem_bn", "conv0.bn"),
        "predictions": ("classifier", "last_linear"),
    }
    for layer in layers:
        if layer in ends:
            yield ends[layer][large], layer
            continue
        what, cell = re.fullmatch(r"(.*?)_((?:stem_|reduce_)?\d+)", layer).groups()
        prefix = ours[cells.index(cell)] if large else f"cells.{cells.index(cell)}"
        if found := re.fullmatch(r"separable_conv_(\d)(_bn)?_(\w+?_\w+)", what):
            step, norm, branch = found.groups()
            if large:
                part = f"{_TIMM_BRANCH[branch]}.{'bn_sep' if norm else 'separable'}_{step}"
            else:
                part = f"{branch.partition('_')[2]}.{'bn' if norm else 'conv'}_{step}"
        elif what == "adjust_bn":
            halved = f"adjust_conv_1_{cell}" in layers
            part = (("adjust.2", "conv_prev_1x1.bn"), ("adjust.bn", "final_path_bn"))[halved][large]
        else:
            part = _NASNET[re.sub("^(normal|reduction)_", "", what)][large]
        yield f"{prefix}.{part}", layer


NAMES: dict[str, Callable[[Layers, nn.Module], Iterator[tuple[str, str]]]] = {
    "densenet201": names_densenet,
    "inception_resnet_v2": names_inception,
    "resnet50": names_resnet,
    "resnet152": names_resnet,
    "nasnet_large": names_nasnet,
    "nasnet_mobile": names_nasnet,
}


def _create_uncut(name: str) -> nn.Module:
    import timm

    with torch.device("meta"):
        network: nn.Module = timm.create_model(BACKBONES[name].model)
    return network


def _owns(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


@torch.no_grad()
def copy_weights(layers: Layers, network: nn.Module, name: str) -> None:
    """Every layer of Keras into its module; each module must be met."""
    modules, met = dict(network.named_modules()), set()
    for ours, layer in NAMES.get(name, names_in_order)(layers, network):
        values = layers[layer]
        if "depthwise_kernel" in values and "pointwise_kernel" in values:
            for half in ("depthwise", "pointwise"):
                part = next(key for key in modules if key.startswith(f"{ours}.{half}"))
                _copy_into(modules[part], {"kernel": values[f"{half}_kernel"]})
                met.add(part)
        else:
            _copy_into(modules[ours], values)
            met.add(ours)
    assert met == {key for key, module in modules.items() if _owns(module)}


def _copy_into(module: nn.Module, values: dict[str, np.ndarray]) -> None:
    if isinstance(module, nn.BatchNorm2d):
        for ours, theirs in (("weight", "gamma"), ("bias", "beta")):
            if theirs in values:
                getattr(module, ours).copy_(torch.from_numpy(values[theirs]))
        module.running_mean.copy_(torch.from_numpy(values["moving_mean"]))
        module.running_var.copy_(torch.from_numpy(values["moving_variance"]))
        return
    kernel = torch.from_numpy(values["kernel"])
    if kernel.ndim == 4:  # height, width, in, out; depthwise: height, width, channel, 1
        kernel = (
            kernel.permute(2, 3, 0, 1) if getattr(module, "groups", 1) > 1 else kernel.permute(3, 2, 0, 1)
        )
    elif isinstance(module, nn.Linear):
        kernel = kernel.T
    module.weight.copy_(kernel.reshape(module.weight.shape))
    if module.bias is not None:
        module.bias.copy_(torch.from_numpy(values["bias"]))


def difference(ours: Tensor, keras: np.ndarray) -> str:
    theirs = torch.from_numpy(np.array(keras))
    theirs = theirs.permute(0, 3, 1, 2) if theirs.ndim == 4 else theirs
    assert ours.shape == theirs.shape
    return f"{float((ours - theirs).abs().max() / theirs.abs().max()):.1e}"


def compare(name: str) -> dict[str, str]:
    """One line of the table."""
    layers, x_BHWC, outputs = run_keras(name)
    x_BCHW = torch.from_numpy(x_BHWC).permute(0, 3, 1, 2)
    plain = build_backbone(name, "plain").eval()
    copy_weights(layers, plain, name)
    state = plain.state_dict()
    library = build_backbone(name, "plain", form="library").eval()
    library.load_state_dict(state)
    line = {"backbone": name}
    with torch.inference_mode():
        line["logits"] = difference(plain(x_BCHW), outputs[0])
        line["paper_cut"] = ""
        if KERAS[name][1] is not None:
            cut = build_backbone(name, "paper").eval()
            cut.load_state_dict({key: state[key] for key in cut.state_dict()})
            line["paper_cut"] = difference(cut(x_BCHW), outputs[1])
        line["library_form_logits"] = difference(library(x_BCHW), outputs[0])
    return line


def main() -> None:
    lines = []
    for name in sys.argv[1:] or KERAS:
        lines.append(compare(name))
        print(*lines[-1].values(), flush=True)
    if sys.argv[1:]:
        return
    with atomic_path(RESULTS) as part, part.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# keras {version('keras')} (jax {version('jax')}), torch {torch.__version__}\n")
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
