"""One image explained: as an object, in sentences, and as a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from dermlens.errors import UserError, nearest
from dermlens.explain.methods import METHODS, choose
from dermlens.explain.neighbours import Case, nearest_cases, training_cases
from dermlens.explain.network import Heat, Pixels, decide, look, outputs
from dermlens.labels import Vocabulary
from dermlens.metrics import Floats
from dermlens.models.saved import SavedModel
from dermlens.predict.answers import Answer, one_answer, percent
from dermlens.predict.decision import scaled
from dermlens.predict.decision_document import plain_decision
from dermlens.predict.document import of_last_layer
from dermlens.predict.patients import Patient
from dermlens.predict.picture import Picture
from dermlens.predict.pictures.preprocessing import average_views, read_square
from dermlens.report.plots import BLUE, GREY, ORANGE, PURPLE
from dermlens.runs import Run

EACH = 3
"""Training cases shown of each class."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What there is to show of one image.

    Attributes:
        image_id: the file's name without its suffix.
        image_SSC: the square that the network saw.
        classes: in the order of the probabilities.
        answer: what the model says, over its views.
        p_C: probabilities in the model's own case mix, of a withheld answer too.
        target: index of the class that is explained.
        heats: by the name of the method.
        cases: of training; empty where there are none.
        paths: of training images that are there, by image id.
        notes: what is missing, and why.
        vocabulary: what the classes are called.
    """

    image_id: str
    image_SSC: Pixels
    classes: tuple[str, ...]
    answer: Answer
    p_C: Floats
    target: int
    heats: dict[str, Heat]
    cases: list[Case]
    paths: dict[str, Path]
    notes: list[str]
    vocabulary: Vocabulary


def explain_image(
    saved: SavedModel,
    folder: Path,
    image: Path,
    patient: Patient,
    *,
    methods: Sequence[str] = (),
    class_code: str | None = None,
    data: Path | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Explained:
    """Explain what a model makes of one image.

    Args:
        saved: the model.
        folder: where it was loaded from; a run directory has training cases.
        image: a file.
        patient: what is known.
        methods: of `METHODS`; none for all that fit and whose packages are installed.
        class_code: the class to explain; none for the one that is named.
        data: the run's images.
        cache: where features of training images are kept.
        say: called before what takes minutes.

    Raises:
        UserError: a class or method is not known, a method does not fit, a package is missing, the image or
            the data cannot be read, or the answer is withheld and no class was named.
    """
    chosen = choose(saved, methods)
    if class_code is not None and class_code not in saved.classes:
        raise UserError(f"--class {class_code} is not one of the model's{nearest(class_code, saved.classes)}")
    picture = Picture(image)
    square = partial(picture.square, crop=saved.crop, colour_constancy=saved.colour_constancy)
    image_SSC = square(saved.size)
    known = picture.completed(patient)
    meta_M = saved.encoder.encode([known.age], [known.sex], [known.site])[0]
    logits_1C, features_1D = average_views(
        saved.views,
        saved.size,
        lambda size: square(size)[None],
        lambda x_BSSC: outputs(saved, x_BSSC, meta_M),
    )
    found = decide(saved, logits_1C, features_1D)
    looks, decision = saved.dermoscopy, saved.decision or plain_decision(saved.classes)
    answer = one_answer(
        found,
        0,
        decision,
        saved.vocabulary,
        score_C=scaled(logits_1C, decision.scaling)[0],
        dermoscopy=None if looks is None else float(looks.scores(features_1D)[0]),
        faults=picture.faults(),
        image_id=image.stem,
    )
    if answer.withheld and class_code is None:
        raise UserError(
            f"{image}: nothing is named, and so nothing explained: {answer.reason}; --class CODE shows what"
            " would speak for a class"
        )
    named = int(found.diagnosis_N[0])
    target = named if class_code is None else saved.classes.index(class_code)
    notes: list[str] = []
    heats: dict[str, Heat] = {}
    for name in chosen:
        try:
            heats[name] = METHODS[name].draw(saved, image_SSC, meta_M, target)
        except UserError as error:
            if methods:
                raise
            notes.append(f"No {name}: {error}.")
    embedded, paths, why_not = training_cases(Run(folder), saved, data, cache=cache, say=say)
    cases: list[Case] = []
    if embedded is None:
        notes.append(why_not)
    else:
        features_1D = look(saved, image_SSC, meta_M)[1]["features_BD"].numpy()
        cases = nearest_cases(embedded, of_last_layer(features_1D, saved.dermoscopy)[0], EACH)
        if image.stem in embedded.image_id:
            notes.append(f"The model was trained on an image named {image.stem}.")
    return Explained(
        image_id=image.stem,
        image_SSC=image_SSC,
        classes=saved.classes,
        answer=answer,
        p_C=np.asarray(found.p_NC[0]),
        target=target,
        heats=heats,
        cases=cases,
        paths=paths,
        notes=notes,
        vocabulary=saved.vocabulary,
    )


def sentences(explained: Explained) -> Iterator[str]:
    """The figure in words: the answer, then what contributed to it."""
    code = explained.classes[explained.target]
    yield from explained.answer.sentences
    yield f"explained: {code} ({explained.vocabulary.name(code)})"
    if not explained.answer.withheld:
        yield f"probability of {code}: {percent(float(explained.p_C[explained.target]))}"
    for name, heat in explained.heats.items():
        if heat.patient:
            parts = ", ".join(f"{field} {value:+.2f}" for field, value in heat.patient.items())
            yield f"{name}: to the score of {code} are added by {parts}, each against its being missing"
    for case in explained.cases:
        yield f"near: {case.dx} {case.image_id}, distance {case.distance:.3f}"
    yield from explained.notes


# Colours that colour-blind readers tell apart: orange speaks for the class and purple against it
# (ColorBrewer's PuOr), and cividis where a map has no sign.
#
# S side of the square, C colours, K heads.


COLUMNS = 4
THUMBNAIL = 96
WIDTH, PANEL = 11.0, 2.9
LETTERS = 100
"""Of a line of the title."""
LINE = 0.2
"""Height of such a line in inches."""
DISCLAIMER = (
    "Research software, not a medical device. Heat says what the model goes by, not where a disease is;"
    " nobody is diagnosed."
)


def overlay(image_SSC: Pixels, heat_SS: npt.NDArray[np.floating], *, signed: bool) -> npt.NDArray[np.uint8]:
    """The square in grey under its heat; the stronger, the less grey.

    Args:
        image_SSC: RGB.
        heat_SS: of any scale; its largest magnitude becomes 1, and what has no sign starts at its least.
        signed: whether heat below 0 means something.

    Returns:
        RGB; the grey square alone where all heat is the same, or 0.
    """
    grey_SS1 = np.asarray(Image.fromarray(image_SSC).convert("L"), dtype=np.float64)[..., None]
    heat_SS = heat_SS if signed else heat_SS - heat_SS.min()
    peak = float(np.abs(heat_SS).max())
    strength_SS = heat_SS / peak if peak > 1e-12 else np.zeros_like(heat_SS)
    if signed:
        colour_SSC = mpl.colormaps["PuOr_r"]((strength_SS + 1) / 2)[..., :3] * 255
    else:
        colour_SSC = mpl.colormaps["cividis"](strength_SS)[..., :3] * 255
    weight_SS1 = 0.75 * np.abs(strength_SS)[..., None]
    return np.asarray((1 - weight_SS1) * grey_SS1 + weight_SS1 * colour_SSC).round().astype(np.uint8)


def draw(explained: Explained) -> Figure:
    """Image and maps, the heads of the attention, probabilities and the patient's part, training cases."""
    code = explained.classes[explained.target]
    pictures = [("the square that the network saw", explained.image_SSC)]
    for name, heat in explained.heats.items():
        drawn = overlay(explained.image_SSC, heat.heat_SS, signed=METHODS[name].signed)
        pictures.append((f"{name}: {METHODS[name].about}", drawn))
    heads = [heat for heat in explained.heats.values() if heat.heads_KSS is not None]
    rows = -(-len(pictures) // COLUMNS)
    heights = [PANEL * rows + 0.3, *[1.0] * len(heads), 2.6]
    if explained.cases:
        heights.append(0.4 + (1.35 if explained.paths else 0.28) * _most(explained.cases))
    sentences = explained.answer.sentences
    lead = sentences[:2] if explained.answer.uncertain or explained.answer.flagged else sentences[:1]
    title = f"{explained.image_id}: {' '.join(lead)}"
    lines = [*textwrap.wrap(title, LETTERS), f"explained: {code}, {explained.vocabulary.name(code)}"]
    height = sum(heights) + 0.9 + LINE * max(0, len(lines) - 2)
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    parts = iter(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    figure.suptitle("\n".join(lines), fontsize=11, fontweight="bold")
    _images(next(parts), pictures, COLUMNS)
    for heat in heads:
        _heads(next(parts), explained.image_SSC, heat)
    _bars(next(parts), explained)
    if explained.cases:
        _cases(next(parts), explained)
    figure.supxlabel("\n".join([*explained.notes, DISCLAIMER]), fontsize=8, color=GREY, wrap=True)
    return figure


def _images(part: SubFigure, pictures: Sequence[tuple[str, Pixels]], columns: int) -> None:
    rows = -(-len(pictures) // columns)
    axes = part.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (words, image_SSC) in zip(axes, pictures, strict=False):
        axis.imshow(image_SSC)
        name, _, about = words.partition(": ")
        axis.set_title(f"{name}\n{about}" if about else name, fontsize=8)


def _heads(part: SubFigure, image_SSC: Pixels, heat: Heat) -> None:
    assert heat.heads_KSS is not None
    axes = part.subplots(1, len(heat.heads_KSS), squeeze=False)[0]
    for number, (axis, head_SS) in enumerate(zip(axes, heat.heads_KSS, strict=True), start=1):
        axis.imshow(overlay(image_SSC, head_SS, signed=False))
        axis.set_title(f"head {number}", fontsize=6)
        axis.set_axis_off()


def _bars(part: SubFigure, explained: Explained) -> None:
    left, right = part.subplots(1, 2)
    if explained.answer.withheld:
        _words(left, f"Probabilities are withheld:\n{textwrap.fill(explained.answer.reason, LETTERS // 2)}")
    else:
        place_C = np.arange(len(explained.classes))
        colours = [BLUE if place == explained.target else GREY for place in place_C]
        left.barh(place_C, explained.p_C, color=colours)
        left.set_yticks(place_C, explained.classes, fontsize=8)
        left.set_xlim(0, 1)
        left.invert_yaxis()
        left.set_title("probability", loc="left", fontsize=9)
    patient = next((heat.patient for heat in explained.heats.values() if heat.patient), None)
    if patient is None:
        _words(right, "No method here tells age, sex and site apart")
        return
    fields, values = list(patient), [patient[field] for field in patient]
    bars = right.barh(fields, values, color=[ORANGE if value > 0 else PURPLE for value in values])
    right.bar_label(bars, [f"{value:+.2f}" for value in values], padding=3, fontsize=8)
    reach = 1.3 * max(*(abs(value) for value in values), 0.1)
    right.set_xlim(-reach, reach)
    right.axvline(0, color=GREY, linewidth=0.8)
    right.invert_yaxis()
    code = explained.classes[explained.target]
    right.set_title(
        f"what each adds to the score of {code}, against its being missing", loc="left", fontsize=9
    )


def _cases(part: SubFigure, explained: Explained) -> None:
    part.suptitle("nearest training cases by the features of the last layer, and their distance", fontsize=9)
    classes = sorted({case.dx for case in explained.cases})
    axes = part.subplots(_most(explained.cases), len(classes), squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for column, code in enumerate(classes):
        for row, case in enumerate(case for case in explained.cases if case.dx == code):
            axis, words = axes[row, column], f"{case.dx}  {case.distance:.2f}\n{case.image_id}"
            thumbnail = _thumbnail(explained, case)
            if thumbnail is None:
                _words(axis, words, size=7)
            else:
                axis.imshow(thumbnail)
                axis.set_title(words, fontsize=6.5)


def _thumbnail(explained: Explained, case: Case) -> Pixels | None:
    path = explained.paths.get(case.image_id)
    if path is None:
        return None
    try:
        return read_square(path, THUMBNAIL, "center")
    except (UserError, OSError):
        return None


def _most(cases: Sequence[Case]) -> int:
    """Cases of the class that has most."""
    codes = [case.dx for case in cases]
    return max(codes.count(code) for code in set(codes))


def _words(axis: Axes, words: str, size: float = 9) -> None:
    axis.set_axis_off()
    axis.text(0.5, 0.5, words, ha="center", va="center", fontsize=size, transform=axis.transAxes)
