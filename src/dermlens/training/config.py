"""What a recipe says of optimisation: optimiser, schedule, stopping, checkpoint, averaging."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dermlens.section import Section

Monitor = Literal["val_loss", "val_accuracy", "val_mean_recall"]


class OptimizerConfig(Section):
    """One optimiser.

    Attributes:
        kind: `keras_adam` divides by √v + ε with v not bias-corrected, as the paper's code does (P§3).
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


class DistillationConfig(Section):
    """Soft labels beside the given ones (Hinton et al. 2015, §2).

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
