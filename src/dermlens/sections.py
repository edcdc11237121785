"""What a recipe says of training, evaluation and the paper. Free of torch: its mistakes show at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from dermlens.data.config import Siblings
from dermlens.documents import Section
from dermlens.models.table import ChannelOrder, PixelNormalization, Placebo
from dermlens.plugins import PluggedLoss, PluggedMetric, PluggedSampler, own_or_outside, remember_trusted
from dermlens.predict.pictures.preprocessing import ViewsConfig

# What a recipe says against imbalance: which images are drawn, how they weigh, and the loss.


Share = Annotated[float, Field(ge=0, le=1)]


class CrossEntropyConfig(Section):
    """Weighted cross-entropy, the paper's Eq. 2.

    Attributes:
        smoothing: share of the label that is spread over all classes.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class FocalConfig(Section):
    """Focal loss; γ = 0 is weighted cross-entropy."""

    kind: Literal["focal"] = "focal"
    gamma: NonNegativeFloat = 2.0


class LDAMConfig(Section):
    """Margins that widen with rarity; `max_margin`, in logits, is that of the rarest class."""

    kind: Literal["ldam"] = "ldam"
    max_margin: NonNegativeFloat = 2.0


class LogitAdjustedConfig(Section):
    """τ times the log of the sampled prior is added to the logits in training.

    Attributes:
        tau: how much of it.
        prior: `sampled` is of all that an epoch draws; `source` of what it draws of the image's own source,
            so that a source's class shares teach nothing, and classes that a source lacks do not compete.
        smoothing: share of the label that is spread over the classes as the prior is.
    """

    kind: Literal["logit_adjusted"] = "logit_adjusted"
    tau: NonNegativeFloat = 1.0
    prior: Literal["sampled", "source"] = "sampled"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class BalancedSoftmaxConfig(Section):
    """Logit adjustment at τ = 1; `prior` and `smoothing` as there."""

    kind: Literal["balanced_softmax"] = "balanced_softmax"
    prior: Literal["sampled", "source"] = "sampled"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class RealWorldWeightConfig(Section):
    """Real-world-weight cross-entropy (Ho and Wookey 2020); class weights are its costs of a false negative.

    Attributes:
        costs: of naming the column's class where the row's is true, rows in the order of the classes; the
            diagonal counts for nothing. Empty for zeros, which is weighted cross-entropy.
        mean_over_classes: divide by the number of classes, as the authors do.
    """

    kind: Literal["real_world_weight"] = "real_world_weight"
    costs: tuple[tuple[NonNegativeFloat, ...], ...] = ()
    mean_over_classes: bool = True


class MultiWeightedConfig(Section):
    """Multi-weighted new loss of C sigmoids (Yao et al. 2022).

    Attributes:
        alpha: power of the inverse class counts.
        gamma: of the focal factor.
        beta: probability below which an outlier costs no more.
        scale: of the whole.
        factors: of the classes, within the power; empty for ones.
        cumulative: shares of the training at which alpha begins to rise from 0 and is reached; none has all
            of it from the start.
    """

    kind: Literal["multi_weighted"] = "multi_weighted"
    alpha: NonNegativeFloat = 1.2
    gamma: NonNegativeFloat = 2.0
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.1
    scale: PositiveFloat = 30.0
    factors: tuple[PositiveFloat, ...] = ()
    cumulative: tuple[Share, Share] | None = (20 / 70, 60 / 70)

    @model_validator(mode="after")
    def _the_rise_has_a_length(self) -> Self:
        if self.cumulative is not None and self.cumulative[0] >= self.cumulative[1]:
            raise ValueError(f"cumulative {self.cumulative}: the rise must end after it begins")
        return self


OwnLoss = Annotated[
    CrossEntropyConfig
    | FocalConfig
    | LDAMConfig
    | LogitAdjustedConfig
    | BalancedSoftmaxConfig
    | RealWorldWeightConfig
    | MultiWeightedConfig,
    Field(discriminator="kind"),
]
LossConfig = Annotated[
    Annotated[OwnLoss, Tag("own")] | Annotated[PluggedLoss, Tag("outside")],
    Discriminator(own_or_outside("loss")),
]


class ImageSamplerConfig(Section):
    """Every training image once an epoch."""

    kind: Literal["images"] = "images"


class PowerSamplerConfig(Section):
    """As many images an epoch, class c in proportion to n_c^exponent: ½ square-root, 0 class-balanced."""

    kind: Literal["power"] = "power"
    exponent: Share = 0.5


class ClassDraws(Section):
    """How many of each class are drawn.

    Attributes:
        caps: lesions of a class that an epoch sees at the most, such as `{nv: 1500}`; new ones each time.
        repeats: how often each lesion of a class comes, such as `{df: 4}`; its image is drawn each time.
    """

    caps: dict[str, PositiveInt] = Field(default_factory=dict)
    repeats: dict[str, PositiveInt] = Field(default_factory=dict)


class LesionSamplerConfig(ClassDraws):
    """One image of each lesion an epoch, a random one of those it has.

    Attributes:
        caps, repeats: of all sources together that `by_source` does not name.
        by_source: caps and repeats of a source on its own, such as `{isic2017: {caps: {nv: 600}}}`.
    """

    kind: Literal["lesions"] = "lesions"
    by_source: dict[str, ClassDraws] = Field(default_factory=dict)


OwnSampler = Annotated[
    ImageSamplerConfig | PowerSamplerConfig | LesionSamplerConfig, Field(discriminator="kind")
]
SamplerConfig = Annotated[
    Annotated[OwnSampler, Tag("own")] | Annotated[PluggedSampler, Tag("outside")],
    Discriminator(own_or_outside("sampler")),
]


class ImbalanceConfig(Section):
    """What is done about 67 % nevi.

    Attributes:
        weights: `none`; `original` N/N_i; `new` N/(C·N_i), the paper's Eq. 3–4; `effective_number`; or
            numbers by class, such as `{mel: 5}` of its reference [14], others weigh 1.
        exponent: the weights are raised to it; 0 is none, ½ a compromise.
        beta: of `effective_number`, (1 − β)/(1 − β^n).
        deferred_epochs: first epochs in which classes weigh alike all the same, as LDAM's authors do.
        confirmation: weight of an image by how its diagnosis was confirmed, such as `{consensus: 0.7}`; ways
            that are not named weigh 1.
        sampler: which images make up an epoch, by its `kind`, which may be an import path.
        loss: the loss, by its `kind`, which may be an import path; those that take a prior take that of what
            is sampled.
    """

    weights: Literal["none", "original", "new", "effective_number"] | dict[str, PositiveFloat] = "none"
    exponent: Share = 1.0
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.999
    deferred_epochs: NonNegativeInt = 0
    confirmation: dict[str, PositiveFloat] = Field(default_factory=dict)
    sampler: SamplerConfig = ImageSamplerConfig()
    loss: LossConfig = CrossEntropyConfig()

    @model_validator(mode="after")
    def _keys_are_of_its_kind(self) -> Self:
        if self.weights == "none" and (self.exponent != 1 or self.deferred_epochs):
            raise ValueError("exponent and deferred_epochs are of class weights, and weights is none")
        if self.weights != "effective_number" and self.beta != type(self).model_fields["beta"].default:
            raise ValueError(f"beta is of weights effective_number, and weights is {self.weights}")
        return self


# What a recipe says of optimisation: optimiser, schedule, stopping, checkpoint, averaging.


Monitor = Literal["val_loss", "val_accuracy", "val_mean_recall"]


class OptimizerConfig(Section):
    """One optimiser.

    Attributes:
        kind: `keras_adam` divides by √v + ε with v not bias-corrected, as the paper's code does.
        lr: learning rate.
        eps: ε of the Adam family.
        weight_decay: decoupled, for `adamw`; batch-norm scales, biases and γ are exempt.
        momentum: of `sgd`.
        layer_decay: the rate of each block of the backbone is this times that of the block behind it; the
            head has the full one.
    """

    kind: Literal["keras_adam", "adam", "adamw", "sgd"] = "adamw"
    lr: PositiveFloat = 1e-3
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _keys_are_of_its_kind(self) -> Self:
        if self.weight_decay and self.kind != "adamw":
            raise ValueError(f"weight_decay is of adamw, and kind is {self.kind}: leave it out or 0")
        if self.kind != "sgd" and self.momentum != type(self).model_fields["momentum"].default:
            raise ValueError(f"momentum is of sgd, and kind is {self.kind}: leave it out")
        return self


class ScheduleConfig(Section):
    """How the learning rate moves.

    Attributes:
        kind: `plateau` multiplies by `factor` after `patience` epochs without a lower `val_loss`;
            `cosine` warms up linearly over `warmup_epochs` and falls to `min_lr` at the last step.
        factor, patience: of `plateau`.
        warmup_epochs: of `cosine`.
        min_lr: the floor.
    """

    kind: Literal["constant", "plateau", "cosine"] = "constant"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    patience: NonNegativeInt = 5
    warmup_epochs: NonNegativeFloat = 0.0
    min_lr: NonNegativeFloat = 1e-7


class EarlyStoppingConfig(Section):
    """Stop when `monitor` has not improved by `min_delta` for `patience` epochs."""

    monitor: Monitor = "val_loss"
    patience: PositiveInt = 35
    min_delta: NonNegativeFloat = 0.001


class ResizeConfig(Section):
    """The first epochs at a smaller size.

    Attributes:
        until: the epoch, from 0, at which it ends.
        size: side of the square input in pixels.
    """

    until: PositiveInt
    size: Annotated[int, Field(ge=32, le=1024)]


class TaskConfig(Section):
    """A training step of one's own.

    Attributes:
        kind: import path `package.module:Class` of a subclass of `dermlens.training.task.LesionTask`, which
            gets the run's `inputs` and the settings by name as well.
        settings: of it.
    """

    kind: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_remembered(self) -> Self:
        remember_trusted("task", self.kind)
        return self


class DropBlockConfig(Section):
    """Blocks of positions that are dropped behind the last two stages of the backbone, ever more of them.

    Attributes:
        side: of a block in positions, odd; smaller where the map is.
        probability: share of positions that is dropped at last.
        ramp: share of the training over which it rises from 0.
    """

    side: Annotated[int, Field(ge=1, le=15)] = 5
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.1
    ramp: Share = 1.0

    @model_validator(mode="after")
    def _a_block_has_a_centre(self) -> Self:
        if self.side % 2 == 0:
            raise ValueError(f"side {self.side} is even: a block has a position at its centre")
        return self


class DistillationConfig(Section):
    """Soft labels in addition to the given ones (Hinton et al. 2015, §2).

    Attributes:
        soft_labels: a CSV of `image_id, p_<class>…`, out of fold, or they repeat what they were trained on.
        weight: α in (1 − α)·loss + α·T²·KL(q_T ‖ p_T); images without soft labels have the loss alone.
        temperature: T, softens both distributions.
    """

    soft_labels: str
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: PositiveFloat = 2.0


class TrainConfig(Section):
    """One training.

    Attributes:
        epochs: at the most.
        batch_size: images a step, all devices together; the last, smaller batch of an epoch is kept.
        optimizer, schedule, early_stopping: see their sections; no early stopping by default.
        keep: which epoch's weights become the model: the best of a monitor, or `last`.
        monitor_role: the role whose images give `val_*`; `none` needs `keep: last` and neither plateau nor
            early stopping. `test` is for protocols that chose the epoch on what they reported.
        ema: decay of an exponential moving average of the weights, which then is scored and kept.
        freeze_epochs: first epochs in which only what follows the backbone is trained.
        frozen_blocks: first blocks of the backbone that stay as pretrained for good.
        resize: progressive resizing (Howard 2018; Touvron et al. 2019): the sizes of the first epochs, in
            order; the rest is trained at `data.size`.
        distillation: soft labels, or none.
        drop_block: DropBlock in the backbone, or none.
        task: a training step by import path, such as one with a teacher; none for the usual one.
        precision: Lightning's name of a precision; mixed ones need hardware that has them.
    """

    epochs: PositiveInt = 30
    batch_size: PositiveInt = 32
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    early_stopping: EarlyStoppingConfig | None = None
    keep: Monitor | Literal["last"] = "val_mean_recall"
    monitor_role: Literal["selection", "test", "none"] = "selection"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    freeze_epochs: NonNegativeInt = 0
    frozen_blocks: NonNegativeInt = 0
    resize: tuple[ResizeConfig, ...] = ()
    distillation: DistillationConfig | None = None
    drop_block: DropBlockConfig | None = None
    task: TaskConfig | None = None
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"

    @model_validator(mode="after")
    def _what_is_watched_is_measured(self) -> Self:
        if self.monitor_role == "none":
            watching = {
                f"keep {self.keep}": self.keep != "last",
                "schedule.kind plateau": self.schedule.kind == "plateau",
                "early_stopping": self.early_stopping is not None,
            }
            for name, watches in watching.items():
                if watches:
                    raise ValueError(f"monitor_role none measures nothing that {name} could watch")
        return self

    @model_validator(mode="after")
    def _sizes_are_in_order(self) -> Self:
        ends = [step.until for step in self.resize]
        if ends != sorted(set(ends)) or (ends and ends[-1] > self.epochs):
            raise ValueError(f"resize: `until` must rise and end by epochs {self.epochs}; it is {ends}")
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        schedule, lr = self.schedule, self.optimizer.lr
        if schedule.kind != "constant" and schedule.min_lr > lr:
            raise ValueError(f"schedule.min_lr {schedule.min_lr:g} is above optimizer.lr {lr:g}")
        if schedule.kind == "cosine" and schedule.warmup_epochs > self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs {schedule.warmup_epochs:g} is more than epochs {self.epochs}"
            )
        return self


class EvaluationConfig(Section):
    """What is predicted, and how uncertain its numbers are.

    Attributes:
        bootstrap: resamples of lesions for the intervals; 0 leaves intervals out.
        level: of the intervals.
        seed: of the resampling.
        views: of each image whose logits are averaged; they travel with the model.
        metrics: further ones from outside, by import path.
    """

    bootstrap: NonNegativeInt = 1000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: NonNegativeInt = 0
    views: ViewsConfig = ViewsConfig()
    metrics: tuple[PluggedMetric, ...] = ()


# What a recipe says for the study of the published paper alone.


class PaperConfig(Section):
    """What the study of the paper alone asks for: quirks of the authors' runs, and placebos.

    Attributes:
        offline_plan: sample each class as often as the authors' 8,000-a-class folders hold it; copies are
            views of `augment`, originals stay as they are.
        siblings: have one image a lesion in `selection`, its others being `withheld` or, a leak on purpose,
            `trained_on` in place of as many others of their class.
        metadata_shuffled: a placebo: every lesion gets the age, sex and site of another, in training and
            where the run's own images are predicted.
        weights_from: count classes for `imbalance.weights` in the training role, or in all images as the
            authors did.
        placebo: in the place of the Soft-Attention kernel, in the same head: `uniform` weighs all positions
            alike, `frozen` keeps a random kernel that sees all channels.
        normalization: of the pixels: `weights` as the backbone's weights expect it, `half` is x/127.5 − 1,
            which the authors fed most networks whatever their weights expected.
        channel_order: in which the network gets the colours: `bgr` is how the authors' reader gave them to
            networks with metadata, whose weights expect `rgb`.
    """

    offline_plan: bool = False
    siblings: Siblings | None = None
    metadata_shuffled: bool = False
    weights_from: Literal["train", "all"] = "train"
    placebo: Placebo | None = None
    normalization: PixelNormalization = "weights"
    channel_order: ChannelOrder = "rgb"
