"""ImageNet starts from safetensors files."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dermlens.errors import UserError


def load_pretrained(backbone: nn.Module, path: Path, known: dict[str, Tensor], name: str) -> None:
    """Load a cut backbone from a file of the uncut network.

    Args:
        backbone: the cut network; its parameters are overwritten.
        path: a safetensors file, names as the library has them, any floating type.
        known: the state dict of the uncut network: what the file may hold.
        name: of the backbone, for the error.

    Raises:
        UserError: no file, not safetensors, an entry that the network does not know, one of another shape,
            or one that the cut network needs and the file lacks (`num_batches_tracked` aside).
    """
    found = read_tensors(path)
    for key, tensor in found.items():
        if key not in known:
            raise UserError(f"{path}: entry {key} is not one of {name}; is it another network's file?")
        if tensor.shape != known[key].shape:
            have, need = tuple(tensor.shape), tuple(known[key].shape)
            raise UserError(f"{path}: entry {key} has shape {have}, {name} needs {need}")
    needed = [key for key in backbone.state_dict() if not key.endswith("num_batches_tracked")]
    lacking = [key for key in needed if key not in found]
    if lacking:
        raise UserError(f"{path} lacks {len(lacking)} of {name}'s {len(needed)} entries, {lacking[0]} first")
    backbone.load_state_dict({key: found[key] for key in needed}, strict=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises: UserError when it is absent or damaged."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; it should be a safetensors file")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file: {error}") from error
    return tensors
