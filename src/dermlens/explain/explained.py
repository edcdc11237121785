"""One image explained, as an object and in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

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
from dermlens.predict.pictures.preprocessing import average_views
from dermlens.runs import Run

# One image explained: the answer, its maps, what the patient adds, and the training cases it resembles.


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


# An explained image in sentences.


def sentences(explained: Explained) -> Iterator[str]:
    """What the figure says, for who cannot see it: the answer in its own words, then what it owes to what."""
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
