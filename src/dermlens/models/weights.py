"""ImageNet starts, wherever they come from."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dermlens.errors import UserError
from dermlens.models.pretrained.hub import from_hub
from dermlens.models.pretrained.keras_h5 import convert_keras
from dermlens.models.pretrained.packages import obtain


def pretrained(weights: str, backbone: str, known: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors that a recipe's `model.weights` asks for.

    Args:
        weights: `hub`, `package`, or the path of a safetensors file or of a `.h5` file of keras.applications.
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
    return read_tensors(path), str(path)


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
