"""What a recipe says of its data, its split and its augmentation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from dermlens.labels import CLASSES
from dermlens.section import Section

Fraction = Annotated[float, Field(ge=0, lt=1)]
Role = Literal["train", "selection", "calibration", "test"]


class DataConfig(Section):
    """Which pixels and which metadata reach the network.

    Attributes:
        size: side of the square input in pixels; none takes the backbone's own.
        crop: `center` takes the largest centred square, `squash` the whole image out of proportion.
        metadata: `paper` is the published 21-vector, `default` the encoder that drops no patient.
        classes: the labels, in the order of the logits.
        columns: for someone's own CSV: our column name → theirs, such as `image_id: img_id`.
        labels: for someone's own labels: theirs → ours, such as `ACK: akiec`; it travels with the model.
    """

    size: Annotated[int, Field(ge=32, le=1024)] | None = None
    crop: Literal["center", "squash"] = "center"
    metadata: Literal["none", "paper", "default"] = "default"
    classes: Annotated[tuple[str, ...], Field(min_length=2)] = CLASSES
    columns: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)

    @field_validator("classes")
    @classmethod
    def _classes_are_told_apart(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(code.strip() for code in classes):
            raise ValueError("a class without a name; each needs one")
        if twice := [code for code in classes if classes.count(code) > 1]:
            raise ValueError(f"class {twice[0]} is listed twice; each is one logit")
        return classes


class SplitConfig(Section):
    """How images become roles; `manifest` (`grouped-v1`, or a file) overrides the rest.

    Attributes:
        protocol: `paper` splits images and leaks; `grouped` keeps every lesion on one side; `singletons`
            tests on lesions with one image (reference [14] of the paper).
        manifest: a manifest that ships with dermlens, by name, or the path of one.
        holdout: share held out under `paper` (of images) and `singletons` (of single-image lesions).
        selection, calibration, test: shares of lesions under `grouped`; the rest trains.
        folds: under `grouped`, cut all but the test lesions into so many folds instead.
        fold: with folds, the one that plays `selection`; the others train.
        seed: of the draw.
    """

    protocol: Literal["paper", "grouped", "singletons"] = "grouped"
    manifest: str | None = None
    holdout: Fraction = 0.10
    selection: Fraction = 0.10
    calibration: Fraction = 0.10
    test: Fraction = 0.15
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: NonNegativeInt = 0
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _shares_leave_something_to_train(self) -> Self:
        if self.selection + self.calibration + self.test >= 1:
            raise ValueError("selection + calibration + test must leave a share below 1 for training")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds}: folds count from 0")
        return self


class AugmentConfig(Section):
    """Random views, drawn anew for each image and step, on batches. Source: the paper's generator, P§1.7.

    Attributes:
        rotation: largest turn to either side, degrees.
        shift: largest shift of either axis, share of the side.
        zoom: largest change of scale of either axis.
        horizontal_flip, vertical_flip: each with probability one half.
        offline_plan: sample each class as often as the authors' 8,000-a-class folders hold it.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    horizontal_flip: bool = True
    vertical_flip: bool = True
    offline_plan: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether every view is the image itself."""
        return not (self.rotation or self.shift or self.zoom or self.horizontal_flip or self.vertical_flip)
