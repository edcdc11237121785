"""Images in, answers out: from the base install, without torch, pandas or network.

Shapes: N images, S side of the square, C classes, D features, M metadata width, K heads, H × W positions.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dermlens.errors import UserError
from dermlens.labels import Vocabulary
from dermlens.predict.answers import Answer, Evidence, by_lesion, one_answer
from dermlens.predict.decision import Arrays, answer, decide, log_softmax, read_arrays, scaled
from dermlens.predict.decision_document import DecisionDocument, plain_decision
from dermlens.predict.decoding import PICTURE_MEMORY, Worker
from dermlens.predict.document import ModelDocument, OnnxFile, of_last_layer, read_document
from dermlens.predict.metadata import encoder_from_json
from dermlens.predict.model_files import (
    DOCUMENT_FILE,
    check_folder,
    checked_bytes,
    content_sha256,
    read_measured,
)
from dermlens.predict.network import ATTENTION, EVIDENCE, ONNX_FILE, OnnxNetwork
from dermlens.predict.patients import Patient, one_patient, read_request
from dermlens.predict.picture import Needs, Picture, Source, sources_in
from dermlens.predict.pictures.preprocessing import Logits, Numbers, Pixels, average_views, symmetry, unturned
from dermlens.predict.priors import ClassPrior, Prior, read_prior

# Many images, one after the other: every readable one is answered, the others are named.
#
# They are decoded in a process of their own, so that a file which makes the decoder hang, crash or take too
# much memory costs its own answer and no other.


AHEAD = 4
"""Pictures that are decoded while the network looks at another."""


def answer_stream(
    predictor: Predictor,
    images: Mapping[str, Path],
    patient_of: Callable[[str], Patient],
    prior: ClassPrior | None = None,
) -> Iterator[tuple[str, Answer | str]]:
    """Answer for each image by itself, in constant memory; one that cannot be decoded stops no other.

    Args:
        predictor: the model.
        images: files by image id.
        patient_of: what is known of an image's patient.
        prior: as `Predictor.predict` takes it.

    Yields:
        Image id, and the answer or the sentence that says why there is none; in the order of the images.

    Raises:
        UserError: the prior does not fit the model.
    """
    waiting: deque[tuple[str, Future[Picture | str]]] = deque()
    coming = iter(images.items())
    if not images:
        return
    worker = Worker(Needs.of(predictor.document), PICTURE_MEMORY)
    with ThreadPoolExecutor(1) as pool:
        try:
            while True:
                while len(waiting) < AHEAD and (entry := next(coming, None)) is not None:
                    waiting.append((entry[0], pool.submit(worker.picture, entry[1], entry[0])))
                if not waiting:
                    return
                image_id, settled = waiting.popleft()
                picture = settled.result()
                if isinstance(picture, str):
                    yield image_id, picture
                    continue
                (found,) = predictor.answers([picture], [patient_of(image_id)], prior=prior)
                yield image_id, found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            worker.close()


SHIPPED = "shipped"
UNSEALED = (
    "Its model.json has no manifest, so nobody can say whether its files are those that were exported: export"
    " it again."
)


class Predictor:
    """A model that answers; threads may share it.

    Attributes:
        document: what the model is.
        decision: how it gets from logits to an answer.
        folder: where it was read from; none for one that was put together in memory.
        measured: what was measured of it, as `dermlens.predict.model_files` writes it; none where nobody did.
        id: network, size and the beginning of model.json's check sum; stands in every answer.
    """

    def __init__(
        self, document: ModelDocument, network: OnnxNetwork, arrays: Arrays, folder: Path | None = None
    ) -> None:
        self.document = document
        self.decision: DecisionDocument = document.decision or plain_decision(document.classes)
        self.folder = folder
        self.measured = None if folder is None else read_measured(folder)
        self._network = network
        self._arrays = arrays
        self._encoder = encoder_from_json(document.encoder)
        sealed = (document.manifest or {}).get(DOCUMENT_FILE)
        own = sealed or content_sha256(document.model_dump(mode="json"))  # early models have no manifest
        self.id = f"{document.backbone}-{document.size}-{own[:12]}"

    @classmethod
    def open(cls, folder: Path | str | None = None, threads: int | None = None) -> Self:
        """Read a model that `dermlens export` wrote.

        Args:
            folder: with model.json and model.onnx; none or `shipped` for the one that comes with dermlens.
            threads: of the network; none for as many as the process has cores.

        Raises:
            UserError: a file is absent, damaged, or does not belong to the others.
        """
        folder = shipped_folder() if folder is None or str(folder) == SHIPPED else Path(folder)
        path = folder / "model.json"
        document = read_document(path)
        onnx = _onnx_bytes(folder, document.onnx)
        check_folder(folder, document.manifest)
        network = OnnxNetwork(onnx, str(folder / ONNX_FILE), threads)
        if network.classes != len(document.classes):
            raise UserError(
                f"{path} names {len(document.classes)} classes, and {ONNX_FILE} next to it knows"
                f" {network.classes}"
            )
        if network.takes_metadata and network.meta_width != document.meta_width:
            raise UserError(
                f"{path} has metadata of {document.meta_width} numbers, and {ONNX_FILE} next to it takes"
                f" {network.meta_width}"
            )
        if document.dermoscopy is not None:
            try:
                document.dermoscopy.check(network.features)
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
        return cls(document, network, read_arrays(folder, document.decision), folder)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels, in the order of the logits."""
        return self.document.classes

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes, with their names and which are malignant."""
        return self.document.vocabulary

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences that belong with every answer."""
        known = len(self.classes)
        general = (
            "Research software, not a medical device: it says what a model makes of an image and diagnoses"
            " nobody.",
            f"It knows {known} diagnoses of dermoscopic images, and names one of them for other diseases"
            " too.",
        )
        own = self.document.onnx.limits if self.document.onnx is not None else ()
        unsealed = self.document.manifest is None and self.folder is not None
        return general + own + ((UNSEALED,) if unsealed else ())

    @property
    def level(self) -> float | None:
        """Share of images whose class the conformal sets are meant to hold; none without sets."""
        return None if self.decision.sets is None else round(1 - self.decision.sets.alpha, 10)

    def predict(
        self,
        images: Source | Iterable[Source],
        age: Any = None,
        sex: Any = None,
        site: Any = None,
        *,
        table: Path | str | None = None,
        prior: Prior = None,
    ) -> list[Answer]:
        """Answer for each image, independently of the others.

        Args:
            images: one or several: files by their paths or opened in binary mode, their bytes, pictures of
                Pillow, or uint8 RGB arrays (H, W, 3); or a folder, for all images in it and below.
            age: of each image's patient in years, 0 to 120, as number or word; None, NaN or NA where missing.
                One for all, or a sequence with one an image. What a DICOM header says fills what is missing.
            sex: female or male, or an initial, in the same forms.
            site: in HAM10000's or ISIC's words, in the same forms.
            table: CSV with image_id and any of lesion_id, age, sex, site, for the images of a folder.
            prior: the case mix that the probabilities shall hold for: specialist, equal, ham10000, shares by
                class or in the order of the classes, in any unit; none for the model's own. Suspicion
                and flag
                do not depend on it.

        Returns:
            An answer an image, in the order given. Of a folder, in the order of its names, which `image_id`
            holds; an image there that cannot be decoded has no answer and is warned of. With a table that
            names lesions, an answer a lesion, as `lesion` makes it.

        Raises:
            ImageError: an image cannot be decoded.
            UserError: an age is out of range, a word is not understood, or the prior does not fit the model;
                as `predict_folder` has it for a folder; a table for other images.
            ValueError: images and metadata differ in number.
        """
        shares = self.prior(prior)
        if isinstance(images, (str, os.PathLike)) and images != "" and Path(images).is_dir():
            if table is not None and any(given is not None for given in (age, sex, site)):
                raise UserError("the table says it image by image: leave age, sex and site out")
            everyone = one_patient(age, sex, site, option="")
            lesion_of, stream = self._in_folder(Path(images), table, everyone, shares)
            answered = list[tuple[str, Answer]]()
            for image_id, one in stream:
                if isinstance(one, str):
                    warnings.warn(one, stacklevel=2)
                else:
                    answered.append((image_id, one))
            if lesion_of:
                return list(by_lesion(self, answered, lesion_of, shares).values())
            return [one for _, one in answered]
        if table is not None:
            raise UserError("a table is for the images of a folder: give age, sex and site of other images")
        sources = sources_in(images)
        columns = zip(*(_for_each(given, len(sources)) for given in (age, sex, site)), strict=True)
        patients = [one_patient(*one, option="") for one in columns]
        return [
            found
            for source, patient in zip(sources, patients, strict=True)
            for found in self.answers([Picture(source)], [patient], prior=shares)
        ]

    def predict_folder(
        self, folder: Path | str, table: Path | str | None = None, *, prior: Prior = None
    ) -> Iterator[tuple[str, Answer | str]]:
        """Answer for each image in a folder and below, one by one, in constant memory.

        What `dermlens predict` says of masks that are left out, of images without a row and of sites that are
        not known is warned of.

        Args:
            folder: of images; lesion masks are left out.
            table: CSV with image_id and any of age, sex, site; none where nothing is known.
            prior: as `predict` has it.

        Returns:
            An iterator of image id, the file's name without its suffix, and the answer, or the sentence that
            says why there is none.

        Raises:
            UserError: no folder, no images in it, two with one name, or a table that cannot be read or has
                none of them.
        """
        shares = self.prior(prior)
        return self._in_folder(Path(folder), table, Patient(), shares)[1]

    def _in_folder(
        self, folder: Path, table: Path | str | None, everyone: Patient, prior: ClassPrior | None
    ) -> tuple[dict[str, str], Iterator[tuple[str, Answer | str]]]:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder of images")
        asked = read_request([folder], everyone, None if table is None else Path(table))
        for doubt in asked.doubts:
            warnings.warn(doubt, stacklevel=3)
        stream = answer_stream(self, asked.images, asked.patient, prior)
        return asked.lesion_of, chain(asked.unreadable.items(), stream)

    def answers(
        self,
        pictures: Sequence[Picture],
        patients: Sequence[Patient],
        *,
        prior: ClassPrior | None = None,
    ) -> list[Answer]:
        """Answer for pictures in one batch; as `predict`."""
        meta_NM = self.encode(
            [one.completed(patient) for one, patient in zip(pictures, patients, strict=True)]
        )
        logits_NC, features_ND = self.outputs(pictures, meta_NM)
        found = answer(logits_NC, features_ND, self.decision, self._arrays, prior)
        score_NC = scaled(np.asarray(logits_NC, dtype=np.float64), self.decision.scaling)
        looks = self.document.dermoscopy
        looks_N = None if looks is None else looks.scores(features_ND)
        return [
            one_answer(
                found,
                row,
                self.decision,
                self.vocabulary,
                score_C=score_NC[row],
                prior=prior,
                dermoscopy=None if looks_N is None else float(looks_N[row]),
                faults=picture.faults(),
                model=self.id,
                image_id=picture.image_id,
            )
            for row, picture in enumerate(pictures)
        ]

    def encode(self, patients: Sequence[Patient]) -> npt.NDArray[np.float32]:
        """meta_NM of patients. Raises: UserError when an age is out of range."""
        return self._encoder.encode(
            [one.age for one in patients], [one.sex for one in patients], [one.site for one in patients]
        )

    def outputs(
        self, pictures: Sequence[Picture], meta_NM: npt.NDArray[np.float32]
    ) -> tuple[Logits, Numbers]:
        """logits_NC, averaged over the views, and features_ND, before any calibration."""
        document = self.document
        return average_views(
            document.views,
            document.size,
            lambda size: self._squares(pictures, size),
            lambda x_NSSC: self._network(x_NSSC, meta_NM),
        )

    def features(self, pictures: Sequence[Picture]) -> Numbers:
        """features_ND of images as they are; what is known of patients has no part in them."""
        meta_NM = self.encode([Patient()] * len(pictures))
        found_NF = self._network(self._squares(pictures, self.document.size), meta_NM)[1]
        return of_last_layer(found_NF, self.document.dermoscopy)

    def evidence(self, picture: Picture, patient: Patient) -> Evidence | None:
        """Where an answer comes from; none for a network that gives no maps.

        Raises:
            ImageError: the picture cannot be decoded.
            UserError: an age is out of range.
        """
        names = [name for name in (EVIDENCE, ATTENTION) if name in self._network.outputs]
        if not names:
            return None
        x_1SSC = self._squares([picture], self.document.size)
        meta_1M = self.encode([picture.completed(patient)])
        total: dict[str, Numbers] = {}
        for index in range(self.document.views.symmetries):
            found = self._network.run(symmetry(x_1SSC, index), meta_1M, names)
            for name, map_1KHW in found.items():
                total[name] = total.get(name, 0.0) + unturned(map_1KHW[0], index)
        mean = {name: map_KHW / self.document.views.symmetries for name, map_KHW in total.items()}
        if EVIDENCE not in mean:
            return None
        return Evidence(mean[EVIDENCE], mean.get(ATTENTION))

    def _squares(self, pictures: Sequence[Picture], size: int) -> Pixels:
        document = self.document
        return np.stack([one.square(size, document.crop, document.colour_constancy) for one in pictures])

    def prior(self, given: Prior) -> ClassPrior | None:
        """A case mix as a program gives it; none for the model's own. Raises: UserError."""
        return None if given is None else read_prior(given, self.classes, "prior")

    def lesion(self, answers: Sequence[Answer], name: str, prior: ClassPrior | None = None) -> Answer:
        """One answer for a lesion, from those for its images.

        The log-probabilities of the images are averaged, at equal class shares, and so are their
        out-of-distribution scores. Images whose answer is withheld have no part in it; where that is all of
        them, so is the lesion's.

        Args:
            answers: for its images.
            name: of the lesion.
            prior: the case mix that the images were answered for.
        """
        ids = tuple(one.image_id for one in answers)
        kept = [one for one in answers if not one.withheld]
        if not kept:
            return replace(answers[0], image_id=name, images=ids)
        score_1C = log_softmax(np.mean([one.score or () for one in kept], axis=0)[None])
        ood_1 = np.array([np.mean([np.nan if one.ood is None else one.ood for one in kept])])
        looks = [one.dermoscopy for one in kept if one.dermoscopy is not None]
        return one_answer(
            decide(score_1C, ood_1, self.decision, prior),
            0,
            self.decision,
            self.vocabulary,
            score_C=score_1C[0],
            prior=prior,
            dermoscopy=float(np.mean(looks)) if looks else None,
            faults=tuple(dict.fromkeys(fault for one in kept for fault in one.faults)),
            model=self.id,
            image_id=name,
            images=ids,
        )


def _for_each(given: Any, count: int) -> Iterator[Any]:
    """One value an image."""
    if np.ndim(given) == 0:
        return iter([given] * count)
    if len(given) != count:
        raise ValueError(f"{count} images and metadata of {len(given)}")
    return iter(given)


def shipped_folder() -> Path:
    """The model that comes with dermlens. Raises: UserError when this install has none."""
    folder = Path(str(files("dermlens"))) / "shipped"
    if not (folder / ONNX_FILE).is_file():
        raise UserError(
            "this dermlens comes without a model of its own: name one with --model FOLDER, as"
            " `dermlens export` makes it"
        )
    return folder


def _onnx_bytes(folder: Path, onnx: OnnxFile | None) -> bytes:
    path = folder / ONNX_FILE
    if onnx is None or not path.is_file():
        raise UserError(
            f"{folder} has no {ONNX_FILE}, which predicts: `dermlens export {folder} --out DIR` makes one"
        )
    return checked_bytes(path, onnx.sha256)


def load(model: Path | str = "shipped") -> Predictor:
    """A model that answers, without torch.

    Args:
        model: a folder that `dermlens export` wrote, or `shipped` for the one that comes with dermlens.

    Raises:
        UserError: there is no such model, or its files are damaged.
    """
    return Predictor.open(model)
