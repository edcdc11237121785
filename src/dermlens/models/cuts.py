"""Backbones: created by their library, put into Keras's form, loaded, cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
import torchvision
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from timm.models.resnet import Bottleneck
from torch import Tensor, fx, nn
from torch.func import functional_call

from dermlens.errors import UserError
from dermlens.models.architectures import JoinedBackbones, NASNetMobile, PadSame, VGG16Trunk, start_backbone
from dermlens.models.pretrained.sources import features_of_timm, load_pretrained, pretrained
from dermlens.models.table import JOINED, Backbone, Cut, Form, KerasForm, row_of
from dermlens.plugins import resolved

# From a library's network to the one of keras.applications: same parameters, slightly different function.
#
# And how Keras trains it: what a step leaves of the moving statistics, and the dropout before the last layer.
# The moving variance is of the unbiased variance of a batch, as PyTorch has it: the fused kernel by which
# Keras 2 runs batch norm on images (TensorFlow's `FusedBatchNormV3`) does the same. Keras 3 averages the
# biased one.


def to_keras_form(network: nn.Module, form: KerasForm) -> None:
    """Adjust a network in place; parameters, their names and their number stay.

    Args:
        network: the library's uncut network.
        form: what differs for this row.
    """
    if form.eps is not None:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = form.eps
    if form.same_padding:
        _pad_same(network)
    if form.zero_padded_pools:
        _pad_pools_with_zeros(network)
    if form.stride_first:
        _stride_first(network)


def to_keras_training(network: nn.Module, form: KerasForm) -> None:
    """Train as Keras does, in place; what the network computes once it is trained does not change.

    Args:
        network: the library's uncut network.
        form: of its row.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1 - form.momentum
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    if form.dropout:
        before = network.get_submodule(form.dropout_behind)
        setattr(network, form.dropout_behind, nn.Sequential(before, nn.Dropout(form.dropout)))


def fix_norm_scales(network: nn.Module) -> None:
    """Make the scale of every batch norm a buffer of ones: Keras's InceptionResNetV2 has none to learn.

    The entry keeps its name in the state dict, so that weights of the library load.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            ones = torch.ones_like(module.weight.detach())
            del module.weight
            module.register_buffer("weight", ones)


def _pad_same(network: nn.Module) -> None:
    """Strided convolutions pad on the bottom and right first; those of stride 1 already pad evenly."""
    for parent in list(network.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, nn.Conv2d) and max(conv.stride) > 1:
                same = Conv2dSame(
                    conv.in_channels,
                    conv.out_channels,
                    conv.kernel_size[0],
                    stride=conv.stride[0],
                    groups=conv.groups,
                    bias=conv.bias is not None,
                    device="meta",
                )
                same.weight, same.bias = conv.weight, conv.bias
                setattr(parent, name, same)


def _pad_pools_with_zeros(network: nn.Module) -> None:
    """Strided pools take the zeros around the map into their maximum or average."""
    for parent in list(network.modules()):
        for name, pool in list(parent.named_children()):
            if isinstance(pool, (MaxPool2dSame, AvgPool2dSame)):
                kind = nn.MaxPool2d if isinstance(pool, MaxPool2dSame) else nn.AvgPool2d
                setattr(parent, name, nn.Sequential(PadSame(3), kind(3, stride=2)))


def _stride_first(network: nn.Module) -> None:
    """ResNet v1 strides in a bottleneck's first 1×1 convolution; libraries stride in its 3×3 (v1.5)."""
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride


def build_backbone(
    name: str,
    cut: Cut,
    *,
    form: Form = "keras",
    conventions: Form | None = None,
    weights: str = "none",
    settings: Mapping[str, Any] | None = None,
) -> fx.GraphModule:
    """Build one row of the table up to its cut; what follows the cut is gone, not idle.

    Args:
        name: as `row_of` takes it.
        cut: `paper`, `full` or, for the whole network with its 1000 logits, `plain`.
        form: `keras` makes it the network of keras.applications, `library` leaves it as the library's weights
            were trained.
        conventions: whose random start, momentum of batch norm and dropout it is trained by; none takes the
            form's.
        weights: `none`, `hub`, `package`, or the path of a file of the uncut network.
        settings: of a backbone from outside.

    Returns:
        A module that maps normalised x_BCHW to the feature map, or to logits for `plain`.

    Raises:
        UserError: the weights cannot be had, or are not this network's; a network from outside makes no
            feature map, or cannot be traced.
    """
    row = row_of(name)
    if not row.has_cut(cut):
        raise ValueError(f"{name} has no cut {cut}")
    if row.source == "joined":
        members = [
            (
                row_of(part).input_normalization(form),
                build_backbone(part, cut, form=form, conventions=conventions),
            )
            for part in name.split(JOINED)
        ]
        return cut_at(JoinedBackbones(members), None)
    network = _create(row, settings or {})
    if form == "keras":
        to_keras_form(network, row.keras)
    if (conventions or form) == "keras":
        to_keras_training(network, row.keras)
        if weights == "none":
            start_backbone(network, row.keras)
    if not row.scaled_norms:
        fix_norm_scales(network)
    known = network.state_dict()
    if cut == "paper" and row.ends_before_activation:
        network.get_submodule(row.cuts[cut]).act = nn.Identity()
    if row.source in ("features", "outside"):
        backbone = _cut_from_outside(network, name, row)
    else:
        backbone = cut_at(network, row.cuts.get(cut))
    if weights != "none":
        found, where = pretrained(weights, name, known)
        load_pretrained(backbone, found, known, name, where)
    return backbone


def _cut_from_outside(network: nn.Module, name: str, row: Backbone) -> fx.GraphModule:
    """Trace and cut a network that nobody here has tried, and see that it ends in a feature map."""
    try:
        backbone = cut_at(network, row.cuts["full"] or None)
    except ValueError as error:
        raise UserError(f"model.backbone {name}: {error}") from error
    except Exception as error:  # torch.fx raises what it likes
        message = " ".join(str(error).split())[:160]
        raise UserError(f"model.backbone {name} cannot be traced by torch.fx: {message}") from error
    shape = feature_shape(backbone, row.size)
    width = getattr(network, "num_features", None) if not row.cuts["full"] else None
    if shape is None or len(shape) != 3 or (row.source == "features" and width not in (None, shape[0])):
        raise UserError(
            f"model.backbone {name} makes {shape} of an image of {row.size} pixels; a feature map has"
            " channels, height and width, in this order"
        )
    return backbone


def cut_at(network: nn.Module, name: str | None) -> fx.GraphModule:
    """Keep what leads to one module's output, or to one operation's.

    Args:
        network: any network that torch.fx can trace.
        name: the qualified name of a module, or the graph's name of an operation such as `relu`. Where the
            network calls the module several times, the last call counts. None keeps the whole network.

    Returns:
        The network that ends there, its parameters under their old names.
    """
    graph = _ModuleTracer().trace(network)
    if name is not None:
        ends = [
            node for node in graph.nodes if name == (node.target if node.op == "call_module" else node.name)
        ]
        if not ends:  # a module with modules inside: what it ends with, which may be an operation
            stacks = {node: node.meta.get("nn_module_stack", {}).values() for node in graph.nodes}
            ends = [node for node, stack in stacks.items() if name in [path for path, _ in stack]]
        if not ends:
            raise ValueError(f"the network has no {name}")
        graph.output_node().args = (ends[-1],)
    cut = fx.GraphModule(network, graph)
    cut.graph.eliminate_dead_code()
    cut.delete_all_unused_submodules()
    cut.recompile()
    return cut


class _ModuleTracer(fx.Tracer):
    """Goes into every module that has modules inside, but for fused norms, which look at `self.training`."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return isinstance(m, nn.BatchNorm2d) or next(m.children(), None) is None

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(m, nn.Identity):  # libraries leave many of them as placeholders
            return args[0]
        return super().call_module(m, forward, args, kwargs)


def _create(row: Backbone, settings: Mapping[str, Any]) -> nn.Module:
    """The uncut network of a row, its weights random."""
    if row.source == "dermlens":
        own: dict[str, type[nn.Module]] = {"nasnet_mobile": NASNetMobile, "vgg16_authors": VGG16Trunk}
        return own[row.model]()
    if row.source == "outside":
        found, given = resolved("backbone", row.model, settings, "model.backbone")
        built: nn.Module = found.function(**given)
        return built
    if row.source == "features":
        return features_of_timm(row.model)
    if row.source == "timm":
        network: nn.Module = timm.create_model(row.model, pretrained=False)
    else:
        network = torchvision.models.get_model(row.model, weights=None)
    return network


def feature_shape(backbone: fx.GraphModule, size: int) -> tuple[int, ...] | None:
    """Shape of what a backbone makes of one square image, found without computing it.

    Args:
        backbone: on any device.
        size: side of the image in pixels.

    Returns:
        (channels, height, width) of a cut backbone, (1000,) of a whole one; none if the image is too small.
    """
    try:
        y: Tensor = _ShapeInterpreter(backbone).run(torch.empty(1, 3, size, size, device="meta"))
    except (RuntimeError, ValueError):  # a window does not fit
        return None
    return tuple(y.shape[1:])


class _ShapeInterpreter(fx.Interpreter):
    """Runs a graph on tensors without numbers."""

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, nn.BatchNorm2d):  # keeps the shape, and is the slowest of all without numbers
            return args[0]
        state = {name: tensor.to("meta") for name, tensor in module.state_dict().items()}
        return functional_call(module, state, args, kwargs)
