"""The weight files of keras.applications, as the uncut networks here have their tensors.

A published `.h5` file lists its layers in the attribute `layer_names`, each a group that lists its tensors in
`weight_names`. Keras fills a network with them in that order, whatever the layers are called; so does this,
by `keras_layers/<backbone>.csv`, which holds Keras's order next to our module names.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dermlens.errors import UserError, require

Values = dict[str, np.ndarray]

_HEADS = ("classifier", "fc", "last_linear", "classif", "conv_head")
"""Modules behind the last feature map, which files without a top lack."""


def convert_keras(path: Path, backbone: str, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read a `.h5` file of keras.applications.

    Args:
        path: the file, with its top or without.
        backbone: a row of the table of backbones.
        known: the state dict of the uncut network, for names and shapes.

    Returns:
        The state dict of the uncut network, float32; without a top, without its last layers. Biases in front
        of a batch norm, which the network here does not have, are taken off the norm's mean.

    Raises:
        UserError: no such file, not HDF5, not weights of Keras, of another network, or h5py is not installed.
    """
    table = files(__package__) / "keras_layers" / f"{backbone}.csv"
    if not table.is_file():
        raise UserError(f"keras.applications has no {backbone}, so {path} cannot be its weights")
    modules = [row["module"] for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())]
    layers = _read_layers(path)
    lacking = modules[len(layers) :]
    if len(layers) > len(modules) or any(not module.startswith(_HEADS) for module in lacking):
        raise UserError(
            f"{path} has {len(layers)} layers with weights, and {backbone} of keras.applications has"
            f" {len(modules)}: is it another network's file?"
        )
    state: dict[str, Tensor] = {}
    bias_of: dict[str, Tensor] = {}
    for module, (layer, values) in zip(modules, layers, strict=False):
        try:
            tensors = _tensors(module, values, known)
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(f"{path}: layer {layer} does not fit {module} of {backbone}: {error}") from error
        for name, tensor in tensors.items():
            if name in known:
                state[name] = tensor
            else:  # only a bias that the network here has no place for
                bias_of[module] = tensor
    _fold_biases(bias_of, modules, state)
    return state


def _read_layers(path: Path) -> list[tuple[str, Values]]:
    """Layers with weights in the file's order, each with its tensors by their bare names."""
    h5py = require("h5py", "keras")
    if not path.is_file():
        raise UserError(f"{path} does not exist; it should be a weight file of keras.applications")
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise UserError(
                    f"{path} has no attribute layer_names: it is not in the form of keras.applications' files"
                )
            found = []
            for layer in map(_text, root.attrs["layer_names"]):
                group = root[layer]
                names = [_text(name) for name in group.attrs["weight_names"]]
                values = {_bare(name): np.asarray(group[name], dtype=np.float32) for name in names}
                if values:
                    found.append((layer, values))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a whole HDF5 file of Keras: {error}") from error
    return found


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _bare(name: str) -> str:
    """`conv/kernel:0` → `kernel`."""
    return name.rpartition("/")[2].partition(":")[0]


def _tensors(module: str, values: Values, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """One layer's tensors under the names of a module, in its shapes."""
    if "moving_mean" in values:
        names = {
            "weight": "gamma",
            "bias": "beta",
            "running_mean": "moving_mean",
            "running_var": "moving_variance",
        }
        scale = values.get("gamma", np.ones_like(values["moving_mean"]))  # InceptionResNetV2's learn none
        return {
            f"{module}.{ours}": _shaped(
                torch.from_numpy((values | {"gamma": scale})[theirs]), known, module, ours
            )
            for ours, theirs in names.items()
        }
    if "pointwise_kernel" in values:
        return {
            name: tensor
            for half in ("depthwise", "pointwise")
            for name, tensor in _tensors(
                _half(module, half, known), {"kernel": values[f"{half}_kernel"]}, known
            ).items()
        }
    kernel = torch.from_numpy(values.get("depthwise_kernel", values.get("kernel")))
    if kernel.ndim == 4:  # height, width, in, out; depthwise: height, width, channel, 1
        depthwise = kernel.shape[3] == 1 and known[f"{module}.weight"].shape[1] == 1
        kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
    else:
        kernel = kernel.T
    found = {f"{module}.weight": _shaped(kernel, known, module, "weight")}
    if "bias" in values:
        found[f"{module}.bias"] = torch.from_numpy(values["bias"])
        if f"{module}.bias" in known:
            _shaped(found[f"{module}.bias"], known, module, "bias")
    return found


def _half(module: str, half: str, known: dict[str, Tensor]) -> str:
    """The module of a separable convolution's half; libraries add words to the name."""
    name = next(name for name in known if name.startswith(f"{module}.{half}"))
    return name.removesuffix(".weight")


def _shaped(tensor: Tensor, known: dict[str, Tensor], module: str, name: str) -> Tensor:
    """The tensor in the module's shape, which may lack Keras's axes of 1.

    Raises:
        ValueError: it is another shape.
    """
    shape = known[f"{module}.{name}"].shape
    if [side for side in tensor.shape if side > 1] != [side for side in shape if side > 1]:
        raise ValueError(f"its {name} is {tuple(tensor.shape)} and should be {tuple(shape)}")
    return tensor.reshape(shape).contiguous()


def _fold_biases(bias_of: dict[str, Tensor], modules: list[str], state: dict[str, Tensor]) -> None:
    """A bias b in front of a norm, (conv + b − mean)/σ, is a mean that is smaller by b."""
    for module, bias in bias_of.items():
        norm = _norm_behind(module)
        assert norm in modules, (module, norm)
        state[f"{norm}.running_mean"] = state[f"{norm}.running_mean"] - bias


def _norm_behind(module: str) -> str:
    """The batch norm of a ResNet's convolution: conv1 → bn1, downsample.0 → downsample.1."""
    stem, _, last = module.rpartition(".")
    if last.startswith("conv"):
        return f"{stem}.{last.replace('conv', 'bn')}".lstrip(".")
    return f"{stem}.{int(last) + 1}"
