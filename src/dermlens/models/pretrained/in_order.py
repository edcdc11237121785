"""Tensors of one network under the names of another that is the same."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from dermlens.errors import UserError


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
