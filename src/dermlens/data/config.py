"""What a recipe says of its data, its split and its augmentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator, model_validator

from dermlens.documents import Section
from dermlens.labels import CLASSES
from dermlens.plugins import PluggedAugmentation, PluggedReader
from dermlens.predict.decision import BETWEEN
from dermlens.predict.document import ClassFacts
from dermlens.predict.pictures.preprocessing import ColourConstancy
from dermlens.predict.sources.tables import is_formula

Fraction = Annotated[float, Field(ge=0, lt=1)]
Side = Annotated[float, Field(gt=0, le=4)]
Role = Literal["train", "selection", "calibration", "test"]
Siblings = Literal["withheld", "trained_on"]


def parted_classes(data: dict[str, Any]) -> dict[str, Any]:
    """The section `data` of a recipe, a mapping of classes taken apart: codes, and how they are described."""
    classes = data.get("classes")
    if not isinstance(classes, dict):
        return data
    of_code = {str(code): facts for code, facts in classes.items() if facts is not None}
    return data | {"classes": [str(code) for code in classes], "described": of_code}


class DataConfig(Section):
    """Which pixels and which metadata reach the network.

    Attributes:
        size: side of the square input in pixels; none takes the backbone's own.
        crop: `center` takes the largest centred square, `squash` the whole image out of proportion.
        colour_constancy: `shades_of_gray` takes the colour of the light out of every image, in training and
            in prediction.
        metadata: `paper` is the published 21-vector, `default` the encoder that drops no patient.
        classes: the labels, in the order of the logits: a list, or a mapping that says what they are,
            `{Melanom: {malignant: true, name: melanoma}, Naevus: {}}`.
        described: how a mapping described its classes; it travels with the model.
        columns: for someone's own CSV: our column name → theirs, such as `image_id: img_id`.
        labels: for someone's own labels: theirs → ours, such as `ACK: akiec`; an empty one leaves images out;
            it travels with the model.
        values: for someone's own words of age, sex and site: ours → theirs, such as `sex.male: h`, or a list.
        skip: diagnoses, in the data's own words, whose images are left out, such as `other`.
        folders: data folders that make one table, by their names within the data folder.
        squashed: source → width and height of the scene, where files are squashed out of proportion, as
            ISIC 2017's squares are: `isic2017: [4, 3]`.
        reader: reads the data folder in the place of the readers here, by import path.
        also_train: folders of further labelled images to train on, of other patients; where a path is
            relative, next to the data folder. They play no other role.
    """

    size: Annotated[int, Field(ge=32, le=1024)] | None = None
    crop: Literal["center", "squash"] = "center"
    colour_constancy: ColourConstancy = "none"
    metadata: Literal["none", "paper", "default"] = "default"
    classes: Annotated[tuple[str, ...], Field(min_length=2)] = CLASSES
    described: dict[str, ClassFacts] = Field(default_factory=dict)
    columns: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    values: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    skip: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    squashed: dict[str, tuple[PositiveFloat, PositiveFloat]] = Field(default_factory=dict)
    reader: PluggedReader | None = None
    also_train: tuple[str, ...] = ()

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(code.strip() for code in classes):
            raise ValueError("a class without a name; each needs one")
        unfit = [code for code in classes if is_formula(code) or BETWEEN in code or not code.isprintable()]
        if unfit:
            raise ValueError(
                f"class {unfit[0]!r} is in tables of answers, where it begins as a formula does or holds"
                f" {BETWEEN} or a line break: name it otherwise, and its word in --label"
            )
        if twice := [code for code in classes if classes.count(code) > 1]:
            raise ValueError(f"class {twice[0]} is listed twice; each is one logit")
        return classes

    @field_validator("folders")
    @classmethod
    def _folders_differ(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(folders)) < len(folders):
            raise ValueError("a folder is named twice; each is read once")
        return folders

    @model_validator(mode="after")
    def _what_is_described_is_a_class(self) -> Self:
        if unknown := [code for code in self.described if code not in self.classes]:
            raise ValueError(f"described names {unknown[0]}, which is no class")
        return self

    @property
    def facts(self) -> dict[str, dict[str, Any]]:
        """`described` as it stands in documents."""
        return {code: one.model_dump(mode="json") for code, one in self.described.items()}


class SplitConfig(Section):
    """How images become roles; `manifest` (`grouped-v1`, or a file) overrides the rest.

    Attributes:
        protocol: `paper` splits images and leaks; `grouped` keeps every lesion on one side; `singletons`
            tests on lesions with one image (reference [14] of the paper); `given` takes the roles that the
            source's folders or a column of its table give; `sources` draws lesions within each source,
            HAM10000's as in `grouped-v1`, whose test role is the only one.
        manifest: a manifest that ships with dermlens, by name, or the path of one.
        holdout: share held out under `paper` (of images) and `singletons` (of single-image lesions).
        selection, calibration, test: shares of lesions under `grouped`; the rest trains.
        folds: under `grouped`, cut all but the test lesions into so many folds instead.
        fold: with folds, the one that plays `selection`, or several, such as [0, 1]; the others train.
        left_out: a source that plays `selection`; all other images outside the test role train.
        final: the last fit, with nothing left to choose: `selection` trains too, and training images
            of a lesion that `calibration` or `test` shows under another id are left out.
        seed: of the draw.
    """

    protocol: Literal["paper", "grouped", "singletons", "given", "sources"] = "grouped"
    manifest: str | None = None
    holdout: Fraction = 0.10
    selection: Fraction = 0.10
    calibration: Fraction = 0.10
    test: Fraction = 0.15
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: NonNegativeInt | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = 0
    left_out: str | None = None
    final: bool = False
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _shares_leave_something_to_train(self) -> Self:
        if self.selection + self.calibration + self.test >= 1:
            raise ValueError("selection + calibration + test must leave a share below 1 for training")
        if self.folds is not None and max(self.held_folds) >= self.folds:
            raise ValueError(f"fold {max(self.held_folds)} of {self.folds}: folds count from 0")
        if self.folds is not None and self.folds <= len(set(self.held_folds)):
            raise ValueError("fold names every fold: one at least must be left for training")
        if self.left_out is not None and self.folds is not None:
            raise ValueError("left_out plays selection itself: leave folds out")
        if self.final and (self.folds, self.left_out) != (None, None):
            raise ValueError("final leaves no selection role: leave folds and left_out out")
        return self

    @property
    def held_folds(self) -> tuple[int, ...]:
        """`fold`, be it one or several."""
        return (self.fold,) if isinstance(self.fold, int) else self.fold


class ColourConfig(Section):
    """Other light and another camera, drawn anew for each image. Formulas: dermlens.data.augment.colour.

    Attributes:
        brightness, contrast, saturation: largest departure of the factor from 1.
        hue: largest turn about the grey axis to either side, in whole turns.
        illuminant: largest departure of the logarithm of a channel's gain from 0, the product of the three
            gains being 1.
        gains: the same of each channel by itself, so that brightness changes too.
        gamma: largest departure of the logarithm of the exponent from 0.
    """

    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    illuminant: Annotated[float, Field(ge=0, le=1)] = 0.0
    gains: Annotated[float, Field(ge=0, le=1)] = 0.0
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def is_affine_neutral(self) -> bool:
        """Whether nothing of the affine map but `gains` departs from the image."""
        return not (self.brightness or self.contrast or self.saturation or self.hue or self.illuminant)

    @property
    def is_neutral(self) -> bool:
        """Whether every colour stays as it is."""
        return self.is_affine_neutral and not (self.gains or self.gamma)


class CameraConfig(Section):
    """Another camera's resolution and file: down and up again, then JPEG, of some of the images.

    Attributes:
        resample: smallest side that an image is scaled down to before it is scaled up again, as a share of
            its own; 1 is never.
        quality: lowest and highest quality of the JPEG file that it is written to and read from; none for no
            file.
        probability: of each of the two, for an image.
    """

    resample: Annotated[float, Field(ge=0.1, le=1)] = 1.0
    quality: tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _quality_is_a_range(self) -> Self:
        if self.quality is not None and self.quality[0] > self.quality[1]:
            raise ValueError(f"quality {self.quality[0]} … {self.quality[1]}: the lowest comes first")
        return self


class RandAugmentConfig(Section):
    """RandAugment, over the pool of dermlens.data.augment.augmentation.

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


class FieldDropout(Section):
    """How often metadata go missing.

    Attributes:
        all: probability that a patient's are all missing.
        each: that a field (age, sex, site) of the others is, each by itself.
    """

    all: Annotated[float, Field(ge=0, le=1)] = 0.0
    each: Annotated[float, Field(ge=0, le=1)] = 0.0


class MetadataDropoutConfig(FieldDropout):
    """Metadata that go missing at random, whatever the class.

    Attributes:
        all, each: of every source that `by_source` does not name.
        by_source: of a source on its own, such as `{isic2017: {all: 1.0}}`.
    """

    by_source: dict[str, FieldDropout] = Field(default_factory=dict)


class AugmentConfig(Section):
    """Random views, drawn anew for each image and step, on batches.

    Source: the generator of the authors' notebook Data Augmentation.

    Attributes:
        rotation: largest turn to either side, degrees.
        shift: largest shift of either axis, share of the side.
        zoom: largest change of scale of either axis.
        scale: smallest and largest side of the view, as a share of the image's: below 1 the lesion is larger.
        aspect: largest change of the view's proportions, width over height or the other way round: 0.15 is
            up to 15 %.
        camera: resolution and JPEG file, before everything else.
        horizontal_flip, vertical_flip: each with probability one half.
        colour: how far colours may depart from the image's.
        policy: random operations after that, by RandAugment or TrivialAugment.
        cutout: holes, last of all.
        mix: of two images, by mixup or CutMix; on what all else has made.
        plugins: from outside, by import path, on what the above have made, one after the other.
        metadata_dropout: of age, sex and site.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    scale: tuple[Side, Side] | None = None
    aspect: Annotated[float, Field(ge=0, le=1)] = 0.0
    camera: CameraConfig | None = None
    horizontal_flip: bool = True
    vertical_flip: bool = True
    colour: ColourConfig = ColourConfig()
    policy: PolicyConfig | None = None
    cutout: CutOutConfig | None = None
    plugins: tuple[PluggedAugmentation, ...] = ()
    mix: MixConfig | None = None
    metadata_dropout: MetadataDropoutConfig | None = None

    @property
    def stays_in_place(self) -> bool:
        """Whether every view shows each pixel where the image has it."""
        moved = self.rotation or self.shift or self.zoom or self.aspect or self.scale not in (None, (1, 1))
        return not (moved or self.horizontal_flip or self.vertical_flip)

    @model_validator(mode="after")
    def _scale_is_one_of_two(self) -> Self:
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {self.scale[0]} … {self.scale[1]}: the smallest comes first")
        if self.scale is not None and self.zoom:
            raise ValueError("scale and zoom both change the scale: set zoom to 0")
        return self
