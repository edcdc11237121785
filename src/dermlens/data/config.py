"""What a recipe says of its data, its split and its augmentation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from dermlens.data.colour_constancy import ColourConstancy
from dermlens.labels import CLASSES
from dermlens.section import Section

Fraction = Annotated[float, Field(ge=0, lt=1)]
Role = Literal["train", "selection", "calibration", "test"]


class DataConfig(Section):
    """Which pixels and which metadata reach the network.

    Attributes:
        size: side of the square input in pixels; none takes the backbone's own.
        crop: `center` takes the largest centred square, `squash` the whole image out of proportion.
        colour_constancy: `shades_of_gray` takes the colour of the light out of every image, in training and
            in prediction.
        metadata: `paper` is the published 21-vector, `default` the encoder that drops no patient.
        metadata_shuffled: a placebo: every lesion gets the age, sex and site of another, in training and
            where the run's own images are predicted.
        classes: the labels, in the order of the logits.
        columns: for someone's own CSV: our column name → theirs, such as `image_id: img_id`.
        labels: for someone's own labels: theirs → ours, such as `ACK: akiec`; it travels with the model.
        also_train: folders of further labelled images to train on, of other patients; where a path is
            relative, beside the data folder. They play no other role.
    """

    size: Annotated[int, Field(ge=32, le=1024)] | None = None
    crop: Literal["center", "squash"] = "center"
    colour_constancy: ColourConstancy = "none"
    metadata: Literal["none", "paper", "default"] = "default"
    metadata_shuffled: bool = False
    classes: Annotated[tuple[str, ...], Field(min_length=2)] = CLASSES
    columns: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    also_train: tuple[str, ...] = ()

    @field_validator("classes")
    @classmethod
    def _classes_are_told_apart(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(code.strip() for code in classes):
            raise ValueError("a class without a name; each needs one")
        if twice := [code for code in classes if classes.count(code) > 1]:
            raise ValueError(f"class {twice[0]} is listed twice; each is one logit")
        return classes

    @model_validator(mode="after")
    def _there_is_something_to_shuffle(self) -> Self:
        if self.metadata_shuffled and self.metadata == "none":
            raise ValueError("metadata_shuffled needs metadata: paper or default, not none")
        return self


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
        siblings: have one image a lesion in `selection`, its others being `withheld` or, a leak on purpose,
            `trained_on` in place of as many others of their class.
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
    siblings: Literal["withheld", "trained_on"] | None = None
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _shares_leave_something_to_train(self) -> Self:
        if self.selection + self.calibration + self.test >= 1:
            raise ValueError("selection + calibration + test must leave a share below 1 for training")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds}: folds count from 0")
        return self


class ColourConfig(Section):
    """Other light and another camera, drawn anew for each image. Formulas: dermlens.data.augment.colour.

    Attributes:
        brightness, contrast, saturation: largest departure of the factor from 1.
        hue: largest turn about the grey axis to either side, in whole turns.
        illuminant: largest departure of the logarithm of a channel's gain from 0.
    """

    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    illuminant: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def is_neutral(self) -> bool:
        """Whether every colour stays as it is."""
        return not (self.brightness or self.contrast or self.saturation or self.hue or self.illuminant)


class RandAugmentConfig(Section):
    """RandAugment, over the pool of dermlens.data.augment.policy.

    Attributes:
        operations: so many an image, one after the other.
        magnitude: of all of them, as a share of the largest.
    """

    kind: Literal["rand"] = "rand"
    operations: Annotated[int, Field(ge=1, le=8)] = 2
    magnitude: Annotated[float, Field(ge=0, le=1)] = 0.3


class TrivialAugmentConfig(Section):
    """TrivialAugment, over the same pool: one operation an image, at any magnitude."""

    kind: Literal["trivial"] = "trivial"


PolicyConfig = Annotated[RandAugmentConfig | TrivialAugmentConfig, Field(discriminator="kind")]


class CutOutConfig(Section):
    """Square holes, filled with the mean colour of the image.

    Attributes:
        side: of a hole: below 1 a share of the image's side, from 1 on pixels.
        holes: so many an image.
    """

    side: Annotated[float, Field(gt=0, le=1024)] = 0.25
    holes: Annotated[int, Field(ge=1, le=64)] = 1


class MixConfig(Section):
    """An image of two: `mixup` blends them, `cutmix` sets a box of one into the other.

    Attributes:
        kind: which of the two.
        alpha: of the Beta distribution of the first image's share: small values mix little, 1 anyhow.
        probability: of an image to be mixed at all.
    """

    kind: Literal["mixup", "cutmix"]
    alpha: Annotated[float, Field(ge=0.01, le=100)] = 0.2
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0


class MetadataDropoutConfig(Section):
    """Metadata that go missing at random, whatever the class.

    Attributes:
        all: probability that a patient's are all missing.
        each: that a field (age, sex, site) of the others is, each by itself.
    """

    all: Annotated[float, Field(ge=0, le=1)] = 0.0
    each: Annotated[float, Field(ge=0, le=1)] = 0.0


class AugmentConfig(Section):
    """Random views, drawn anew for each image and step, on batches. Source: the paper's generator, P§1.7.

    Attributes:
        rotation: largest turn to either side, degrees.
        shift: largest shift of either axis, share of the side.
        zoom: largest change of scale of either axis.
        horizontal_flip, vertical_flip: each with probability one half.
        offline_plan: sample each class as often as the authors' 8,000-a-class folders hold it.
        colour: how far colours may depart from the image's.
        policy: random operations after that, by RandAugment or TrivialAugment.
        cutout: holes, last of all.
        mix: of two images, by mixup or CutMix; on what the above have made.
        metadata_dropout: of age, sex and site.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    horizontal_flip: bool = True
    vertical_flip: bool = True
    offline_plan: bool = False
    colour: ColourConfig = ColourConfig()
    policy: PolicyConfig | None = None
    cutout: CutOutConfig | None = None
    mix: MixConfig | None = None
    metadata_dropout: MetadataDropoutConfig | None = None

    @property
    def stays_in_place(self) -> bool:
        """Whether every view shows each pixel where the image has it."""
        return not (self.rotation or self.shift or self.zoom or self.horizontal_flip or self.vertical_flip)
