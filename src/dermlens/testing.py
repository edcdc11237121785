"""Checks that a loss, a sampler, a backbone … keeps its contract: for the package's own, and for yours.

Each function takes the import path as a recipe gives it, `check_loss("my_package.losses:mine", gamma=2)`, or
the package's own section. It returns nothing, and raises an AssertionError that says what is wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermlens.data.augment.augmentation import Augmentation
from dermlens.data.config import AugmentConfig, DataConfig
from dermlens.data.table import read_configured
from dermlens.documents import Section
from dermlens.labels import CLASSES
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig, NetworkConfig
from dermlens.models.metadata_branch import build_branch
from dermlens.models.saved import SavedModel, load_model, save_model
from dermlens.models.table import row_of
from dermlens.plugins import (
    PluggedLoss,
    PluggedMetric,
    PluggedReader,
    PluggedSampler,
    resolve,
    trusted_code,
)
from dermlens.predict.metadata import make_encoder
from dermlens.sections import SamplerConfig
from dermlens.training.losses import all_losses, make_loss
from dermlens.training.sampling import epoch_positions

# Shapes: B batch, C classes or channels, R images of the training role, N images.


def _hold(met: bool, what: str, broken: str) -> None:
    if not met:
        raise AssertionError(f"{what}: {broken}")


def _equal(
    ours: Tensor,
    theirs: Tensor,
    what: str,
    broken: str,
    *,
    atol: float | None = None,
    rtol: float | None = None,
) -> None:
    try:
        torch.testing.assert_close(ours, theirs, atol=atol, rtol=rtol)
    except AssertionError as error:
        raise AssertionError(f"{what}: {broken}. {error}") from None


def _idle(network: nn.Module, value: Tensor) -> list[str]:
    """The parameters that get no gradient of a value."""
    learning = {name: one for name, one in network.named_parameters() if one.requires_grad}
    gradients = torch.autograd.grad(value, list(learning.values()), allow_unused=True)
    return [name for name, gradient in zip(learning, gradients, strict=True) if gradient is None]


def check_loss(loss: str | Section, *, symmetric: bool = True, **settings: Any) -> None:
    """Check a loss: one number an image, right slope, finite, weighed by its class weights.

    Args:
        loss: an import path, or a section such as FocalConfig().
        symmetric: classes are alike but for their weights, so that their order does not matter.
        settings: of a loss from outside.
    """
    if isinstance(loss, str):
        with trusted_code():
            config: Section = PluggedLoss.model_validate({"kind": loss, **settings})
            given = resolve("loss", loss, "loss").neutral
        neutral = None if given is None else PluggedLoss.model_validate({"kind": loss, **given})
        name = loss
    else:
        name, config = str(getattr(loss, "kind", "loss")), loss
        known = all_losses()[name]
        neutral = known.neutral if known.generalises else None  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(3)
    logits_BC = 3 * torch.randn(16, 7, generator=generator, dtype=torch.float64)
    logits_BC.requires_grad_()
    target_B = torch.randint(7, (16,), generator=generator)
    weight_C = torch.rand(7, generator=generator, dtype=torch.float64) + 0.1

    made = make_loss(config, weight_C)
    loss_B = made.per_image(logits_BC, target_B)
    _hold(loss_B.shape == (16,), name, f"returns shape {tuple(loss_B.shape)} for 16 images; it must be (16,)")
    single = [made.per_image(row[None], one[None])[0] for row, one in zip(logits_BC, target_B, strict=True)]
    _equal(loss_B, torch.stack(single), name, "the loss of an image depends on the others of its batch")
    slope = torch.autograd.gradcheck(
        lambda logits: made(logits, target_B), (logits_BC,), raise_exception=False
    )
    _hold(bool(slope), name, "its gradient is not the slope of its value (torch.autograd.gradcheck)")
    sure = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    value = make_loss(config, torch.ones(2))(sure, torch.tensor([0, 0]))
    _hold(bool(torch.isfinite(value)), name, "is not finite where the network is sure, right or wrong")
    finite = torch.isfinite(torch.autograd.grad(value, sure)[0]).all()
    _hold(bool(finite), name, "its gradient is not finite where the network is sure, right or wrong")
    thrice = make_loss(config, 3 * weight_C)(logits_BC, target_B)
    _equal(3 * made(logits_BC, target_B), thrice, name, "class weights times 3 are not the loss times 3")
    if symmetric:
        order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
        other = make_loss(config, weight_C[order])(logits_BC[:, order], torch.argsort(order)[target_B])
        _equal(made(logits_BC, target_B), other, name, "the order of the classes matters (symmetric=False?)")
    if neutral is not None:
        ours = make_loss(neutral, weight_C)(logits_BC, target_B)
        plain_B = F.cross_entropy(logits_BC, target_B, reduction="none")
        theirs = (weight_C[target_B] * plain_B).sum() / len(target_B)
        broken = "at its neutral setting it is not weighted cross-entropy over the batch size"
        _equal(ours, theirs, name, broken)
        gradients = [torch.autograd.grad(one, logits_BC)[0] for one in (ours, theirs)]
        _equal(gradients[0], gradients[1], name, f"{broken}, by its gradient")


def check_sampler(sampler: str | SamplerConfig, **settings: Any) -> None:
    """Check a sampler: positions of training images, every class among them, as many of each every epoch.

    Args:
        sampler: an import path, or a section such as PowerSamplerConfig().
        settings: of a sampler from outside.
    """
    config: SamplerConfig
    if isinstance(sampler, str):
        with trusted_code():
            config = PluggedSampler.model_validate({"kind": sampler, **settings})
    else:
        config = sampler
    name = config.kind
    target_R = np.array([0] * 4 + [1] * 16 + [2] * 100)
    before_R = target_R.copy()
    lesion_R = [f"lesion {position // 2}" for position in range(len(target_R))]
    source_R = ["here" if position % 3 else "there" for position in range(len(target_R))]

    def drawn(seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        rng = np.random.default_rng(seed)
        return epoch_positions(config, target_R, lesion_R, rng, ("akiec", "mel", "nv"), source_R)

    first = drawn(0)
    _hold(bool((target_R == before_R).all()), name, "it changes the array of classes that it is given")
    _hold(first.tolist() == drawn(0).tolist(), name, "one generator gives two epochs: draw from `rng` alone")
    counts_C = np.bincount(target_R[first], minlength=3).tolist()
    _hold(min(counts_C) > 0, name, f"a class is never drawn: 4, 16 and 100 images become {counts_C}")
    for seed in range(1, 5):
        other = np.bincount(target_R[drawn(seed)], minlength=3).tolist()
        _hold(
            other == counts_C, name, f"epochs differ in how many of each class they draw: {counts_C}, {other}"
        )


def check_augmentation(augmentation: str | AugmentConfig, **settings: Any) -> None:
    """Check an augmentation: pixels in range, each image by itself, the input left alone, the seed decides.

    Args:
        augmentation: an import path, or the section `augment` of a recipe.
        settings: of an augmentation from outside.
    """
    if isinstance(augmentation, str):
        still = {"rotation": 0, "shift": 0, "zoom": 0, "horizontal_flip": False, "vertical_flip": False}
        with trusted_code():
            config = AugmentConfig.model_validate(still | {"plugins": [{"kind": augmentation, **settings}]})
        name, channels = augmentation, [3]
    else:
        config, name, channels = augmentation, "augment", [3, 4]
    augment = Augmentation(config)

    def seeded(seed: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def noise(batch: int, side: int, count: int) -> Tensor:
        pixels = torch.randint(0, 256, (batch, side, side, count), dtype=torch.uint8, generator=seeded(1))
        return pixels.permute(0, 3, 1, 2)

    for count in channels:
        for side in (1, 2, 17):
            x_BCHW = noise(30, side, count)
            out = augment(x_BCHW, seeded())
            same = out.shape == x_BCHW.shape and out.dtype == torch.float32
            _hold(same, name, f"makes {out.dtype} of shape {tuple(out.shape)}; shape and float32 must stay")
            _hold(bool(torch.isfinite(out).all()), name, "makes pixels that are not finite")
            low, high = float(out.min()), float(out.max())
            _hold(
                low > -1e-3 and high < 255 + 1e-3, name, f"makes pixels of {low:g} … {high:g}; 0 … 255 is all"
            )
    x_BCHW = noise(6, 17, 3)
    out = augment(x_BCHW, seeded(3))
    _hold(
        torch.equal(out, augment(x_BCHW, seeded(3))),
        name,
        "one generator gives two results: draw from it alone",
    )
    contiguous = augment(x_BCHW.float().contiguous(), seeded(3))
    _hold(torch.equal(out, contiguous), name, "the result depends on the memory format of the images")
    others_BCHW = 255 - x_BCHW
    others_BCHW[4] = x_BCHW[4]
    among_others = augment(others_BCHW, seeded(3))
    _hold(
        torch.equal(out[4], among_others[4]),
        name,
        "what becomes of an image depends on the others of its batch",
    )
    mask_B = torch.tensor([True, False, True, False, False, True])
    some = augment(x_BCHW, seeded(3), mask_B)
    _hold(torch.equal(some[~mask_B], x_BCHW[~mask_B].float()), name, "images that are not chosen change")
    _hold(torch.equal(some[mask_B], out[mask_B]), name, "a chosen image changes with what else is chosen")
    for memory_format in (torch.contiguous_format, torch.channels_last):
        given = x_BCHW.float().contiguous(memory_format=memory_format)
        before = given.clone()
        augment(given, seeded())
        augment(given, seeded(), mask_B)
        _hold(torch.equal(given, before), name, "it writes over the images that it is given")


def check_backbone(backbone: str | ModelConfig, *, size: int | None = None, **settings: Any) -> None:
    """Check a backbone: a feature map, all parameters learn, each image by itself, saved and loaded alike.

    Args:
        backbone: an import path, `timm:NAME`, a name of the table; or the section `model` of a recipe.
        size: side of the images; none takes the backbone's own.
        settings: of a backbone from outside.
    """
    with trusted_code():
        if isinstance(backbone, str):
            backbone = ModelConfig.model_validate(
                {"backbone": backbone, "backbone_settings": settings, "pool": "gap"}
            )
        config, name = backbone, backbone.backbone
        side = size or row_of(name).size
        encoder = make_encoder("default" if config.metadata != "none" else "none").fit(
            [50.0], ["male"], ["back"]
        )
        width = encoder.width
        torch.manual_seed(0)
        model = build_classifier(config, num_classes=7, meta_width=width, size=side)
    model = model.to(memory_format=torch.channels_last)
    x_BCHW = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    meta_BM = torch.randn(2, width)
    logits_BC, found = model(x_BCHW, meta_BM)
    _hold(logits_BC.shape == (2, 7), name, f"gives logits of shape {tuple(logits_BC.shape)} for 2 images")
    branch = getattr(model.head, "branch", None)
    known = 0 if branch is None else branch.width  # what the metadata add is not the image's
    features = (2, model.head.linear.in_features - known)
    _hold(found["features_BD"].shape == features, name, "its features are not those that the last layer sees")
    if config.cut != "plain" and config.attention != "none":
        expected = (2, config.heads, *model.feature_shape[1:])
        _hold(found["alpha_BKHW"].shape == expected, name, f"its attention maps are not of shape {expected}")
        _equal(found["alpha_BKHW"].sum((2, 3)), torch.ones(2, config.heads), name, "a map does not sum to 1")
    idle = _idle(model, F.cross_entropy(logits_BC, torch.tensor([1, 4])))
    _hold(not idle, name, f"parameters that nothing learns: {', '.join(idle[:3])}")

    model.eval()
    with torch.inference_mode():
        both, _ = model(x_BCHW, meta_BM)
        again, _ = model(x_BCHW, meta_BM)
        first, _ = model(x_BCHW[:1], meta_BM[:1])
        floating, _ = model(x_BCHW.float(), meta_BM)
    _hold(torch.equal(both, again), name, "two looks at one image differ in evaluation mode")
    _equal(floating, both, name, "pixels as bytes and as numbers give different logits")
    _equal(first, both[:1], name, "logits depend on the others of a batch", atol=1e-4, rtol=1e-3)
    with tempfile.TemporaryDirectory() as place:
        save_model(Path(place), SavedModel(model, NetworkConfig.of(config), CLASSES, side, "center", encoder))
        saved = load_model(Path(place), trust_code=True).model.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            loaded, _ = saved(x_BCHW, meta_BM)
    _equal(loaded, both, name, "saved and loaded it gives other logits")


def check_metadata_branch(branch: str, **settings: Any) -> None:
    """Check a metadata branch: any width of metadata, any feature map, in training and evaluation.

    Args:
        branch: a name of the registry, or an import path.
        settings: of a branch from outside.
    """
    for meta_width, channels, batch in ((1, 1, 1), (21, 8, 3), (40, 30, 4), (5, 12, 1)):
        with trusted_code():
            made = build_branch(branch, meta_width, channels, settings)
        assert made is not None, "none is no branch"
        x_BCHW, meta_BM = torch.randn(batch, channels, 3, 4), torch.randn(batch, meta_width)
        for mode in (True, False):
            made.train(mode)
            shape = tuple(made.modulate(x_BCHW, meta_BM).shape)
            _hold(shape == x_BCHW.shape, branch, f"makes a map of shape {shape} of {tuple(x_BCHW.shape)}")
            features = tuple(made(meta_BM).shape)
            _hold(features == (batch, made.width), branch, f"adds {features}, and says width {made.width}")
        learnt = made(meta_BM).square().sum() + made.modulate(x_BCHW, meta_BM).square().sum()
        idle = _idle(made, learnt)
        _hold(not idle, branch, f"parameters that nothing learns: {', '.join(idle[:3])}")


def check_reader(reader: str | None, folder: Path, classes: Sequence[str] = CLASSES, **settings: Any) -> None:
    """Check a reader on a folder that it reads: a whole LesionTable, every image there, twice the same.

    Args:
        reader: an import path; none for the readers here.
        folder: a data folder, or a table.
        classes: the labels.
        settings: of a reader from outside.
    """
    name = reader or "the readers here"
    with trusted_code():
        given = None if reader is None else PluggedReader.model_validate({"kind": reader, **settings})
        config = DataConfig(reader=given, classes=tuple(classes))
        table, again = (read_configured(folder, config) for _ in range(2))  # validated against its schema
    _hold(table.equals(again), name, "reads one folder twice and finds two tables")
    absent = [path for path in table["path"] if not Path(path).is_file()]
    _hold(not absent, name, f"names images that are not there: {', '.join(absent[:3])}")
    of_lesion = table.groupby("lesion_id")["dx"].nunique()
    several = of_lesion[of_lesion > 1].index.tolist()
    _hold(not several, name, f"gives one lesion several diagnoses: {', '.join(several[:3])}")


def check_metric(metric: str | Callable[..., Any], **settings: Any) -> None:
    """Check a metric: a finite number, whatever the order of the images and however often they come.

    Args:
        metric: an import path, or a function (target_N, p_NC, classes) → number.
        settings: of a metric from outside.
    """
    if isinstance(metric, str):
        with trusted_code():
            found, given = PluggedMetric.model_validate({"kind": metric, **settings}).resolve()
        name, function = metric, found.function
    else:
        name, function, given = getattr(metric, "__name__", "metric"), metric, settings
    rng = np.random.default_rng(0)
    target_N = np.arange(70) % 7
    p_NC = rng.dirichlet(np.ones(7), 70)
    before = target_N.copy(), p_NC.copy()
    value = float(function(target_N, p_NC, CLASSES, **given))
    _hold(bool(np.isfinite(value)), name, f"is {value} of 70 images of seven classes")
    untouched = np.array_equal(target_N, before[0]) and np.array_equal(p_NC, before[1])
    _hold(untouched, name, "it writes over what it is given")
    order = rng.permutation(70)
    shuffled = float(function(target_N[order], p_NC[order], CLASSES, **given))
    _hold(bool(np.isclose(value, shuffled)), name, f"depends on the order of the images: {value}, {shuffled}")
    twice = float(function(np.tile(target_N, 2), np.tile(p_NC, (2, 1)), CLASSES, **given))
    _hold(bool(np.isclose(value, twice)), name, f"every image twice changes it from {value} to {twice}")
