"""Weight files of keras.applications: every feature map after conversion against Keras's own."""

from __future__ import annotations

import csv
import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dermlens.data.synthetic.folder import write_synthetic
from dermlens.errors import UserError
from dermlens.models.cuts import build_backbone
from dermlens.models.pretrained.keras_h5 import convert_keras
from dermlens.predict.pictures.preprocessing import read_square

os.environ.setdefault("KERAS_BACKEND", "torch")
h5py = pytest.importorskip("h5py", reason="h5py reads the files; it comes with dermlens[keras]")
keras = pytest.importorskip("keras", reason="Keras is the oracle; it comes with the dev requirements")
from keras.src.applications.nasnet import NASNet  # noqa: E402
from keras.src.legacy.saving import legacy_h5_format  # noqa: E402

# Keras 3.15 hands NumPy 2 tensors in a way that NumPy warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TABLES = files("dermlens.models.pretrained") / "keras_layers"


def nasnet_mobile(**options):
    """Keras keeps its NASNetMobile from its torch backend; what that function calls works there."""
    return NASNet(
        options["input_shape"], 1056, 4, 32, False, 2, True, None, classes=1000, default_size=224,
        classifier_activation=None,
    )  # fmt: skip


NETWORKS = {
    "densenet201": keras.applications.DenseNet201,
    "inception_resnet_v2": keras.applications.InceptionResNetV2,
    "resnet50": keras.applications.ResNet50,
    "resnet152": keras.applications.ResNet152,
    "nasnet_large": keras.applications.NASNetLarge,
    "nasnet_mobile": nasnet_mobile,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "mobilenet_v3_small": keras.applications.MobileNetV3Small,
    "mobilenet_v3_large": keras.applications.MobileNetV3Large,
}


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """Two lesions, (2, 96, 96, 3), in −1 … 1: what is compared is the network behind the normalisation."""
    folder = Path(os.environ.get("DERMLENS_DATA", "")) / "ham10000"
    if not folder.is_dir():
        folder = write_synthetic(tmp_path_factory.mktemp("images") / "data", lesions=7, seed=3, size=(96, 96))
    paths = sorted((folder / "images").glob("*.jpg"))[:2]
    squares = [read_square(path, size=96, crop="center") for path in paths]
    return np.stack(squares).astype(np.float32) / 127.5 - 1


def keras_network(name):
    """The network with every kernel, bias and tensor of a batch norm random: fresh norms would hide swaps."""
    options = {"include_preprocessing": False} if "v3" in name else {}
    if name != "nasnet_mobile":
        options |= {"weights": None, "classifier_activation": None}
    network = NETWORKS[name](input_shape=(96, 96, 3), **options)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        values = []
        for weight, value in zip(layer.weights, layer.get_weights(), strict=True):
            kind = weight.path.rpartition("/")[2]
            if kind in ("gamma", "moving_variance"):
                value = rng.uniform(0.5, 1.5, value.shape)
            elif value.ndim == 1:
                value = rng.normal(0, 0.1, value.shape)
            values.append(value.astype(np.float32))
        layer.set_weights(values)
    return network


def save(network, path):
    """In the form of the published files."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    return path


def compared_modules(name, ours):
    """(Keras's layer, our module): convolutions, norms without an activation of their own, linear layers."""
    for row in csv.DictReader((TABLES / f"{name}.csv").read_text().splitlines()):
        candidates = [
            row["module"],
            *(m for m, _ in ours.named_modules() if m.startswith(f"{row['module']}.point")),
        ]
        module = next(m for m in candidates[::-1] if m in dict(ours.named_modules()))
        kind = type(ours.get_submodule(module))
        folded = name.startswith("resnet") and issubclass(kind, nn.Conv2d)
        if (issubclass(kind, (nn.Conv2d, nn.Linear)) or kind is nn.BatchNorm2d) and not folded:
            yield row["keras_layer"], module


@pytest.mark.parametrize("name", NETWORKS)
def test_every_feature_map_is_keras_own(name, pixels, tmp_path):
    theirs = keras_network(name)
    path = save(theirs, tmp_path / "weights.h5")
    ours = build_backbone(name, "plain", weights=str(path)).eval()
    pairs = list(compared_modules(name, ours))
    assert len(pairs) > 30
    maps = {}
    for _, module in pairs:
        ours.get_submodule(module).register_forward_hook(
            lambda _m, _x, y, module=module: maps.__setitem__(module, y.numpy().copy())
        )
    layers = list(dict.fromkeys(layer for layer, _ in pairs))
    probe = keras.Model(theirs.input, [theirs.get_layer(layer).output for layer in layers])
    with torch.inference_mode():
        ours(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        found = [np.array(tensor.cpu()) for tensor in probe(torch.from_numpy(pixels), training=False)]
    expected = dict(zip(layers, found, strict=True))
    for layer, module in pairs:
        y = expected[layer]
        y = np.moveaxis(y, -1, 1) if y.ndim == 4 else y
        error = np.abs(maps[module].reshape(y.shape) - y).max() / np.abs(y).max()
        assert error < 1e-4, (layer, module, error)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save(keras_network("mobilenet_v3_small"), tmp_path_factory.mktemp("keras") / "small.h5")


def test_files_of_older_kerases_name_their_tensors_otherwise(small, tmp_path):
    """`conv/kernel:0`, and `depthwise_kernel` for a depthwise one, as the published files have them."""
    old = tmp_path / "old.h5"
    with h5py.File(small) as new, h5py.File(old, "w") as file:
        file.attrs["layer_names"] = new.attrs["layer_names"]
        for layer in new:
            group = file.create_group(layer)
            names = []
            for path in new[layer].attrs["weight_names"]:
                values, bare = new[layer][path][()], str(path).rpartition("/")[2]
                if "depthwise" in layer and bare == "kernel":
                    bare = "depthwise_kernel"
                names.append(f"{layer}/{bare}:0".encode())
                group.create_dataset(names[-1], data=values)
            group.attrs["weight_names"] = names
    network = build_backbone("mobilenet_v3_small", "plain", weights=str(old))
    for key, tensor in build_backbone("mobilenet_v3_small", "plain", weights=str(small)).state_dict().items():
        assert torch.equal(tensor, network.state_dict()[key])


def test_file_without_a_top_starts_a_cut_network(small, tmp_path):
    bare = tmp_path / "no_top.h5"
    with h5py.File(small) as whole, h5py.File(bare, "w") as file:
        kept = [name for name in whole.attrs["layer_names"] if str(name) not in ("conv_2", "logits")]
        file.attrs["layer_names"] = kept
        for layer in kept:
            whole.copy(whole[layer], file)
    build_backbone("mobilenet_v3_small", "full", weights=str(bare))
    with pytest.raises(UserError, match=r"no_top\.h5.*(conv_head|classifier)"):
        build_backbone("mobilenet_v3_small", "plain", weights=str(bare))


def known(name):
    return build_backbone(name, "plain").state_dict()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "HDF5"),
        (lambda path: path.write_bytes(b"not at all"), "HDF5"),
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: h5py.File(path, "w").close(), "layer_names"),
    ],
)
def test_file_that_is_none_is_refused(small, tmp_path, spoil, sentence):
    path = tmp_path / "weights.h5"
    path.write_bytes(small.read_bytes())
    spoil(path)
    with pytest.raises(UserError, match=rf"weights\.h5.*{sentence}"):
        convert_keras(path, "mobilenet_v3_small", known("mobilenet_v3_small"))


def test_another_networks_file_is_refused(small):
    with pytest.raises(UserError, match=r"88.*mobilenet_v3_large.*110"):
        convert_keras(small, "mobilenet_v3_large", known("mobilenet_v3_large"))


def test_another_width_is_refused(tmp_path):
    narrow = keras.applications.MobileNetV3Small(
        input_shape=(96, 96, 3), weights=None, alpha=0.75, include_preprocessing=False
    )
    path = save(narrow, tmp_path / "narrow.h5")
    with pytest.raises(UserError, match=r"narrow\.h5.*layer"):
        convert_keras(path, "mobilenet_v3_small", known("mobilenet_v3_small"))


def test_network_that_keras_does_not_have_is_said(small):
    with pytest.raises(UserError, match="efficientnet_lite0"):
        convert_keras(small, "efficientnet_lite0", known("efficientnet_lite0"))
