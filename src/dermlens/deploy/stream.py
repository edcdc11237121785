"""Many images, one after the other: every readable one is answered, the others are named."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from dermlens.data.images import ImageError
from dermlens.deploy.answers import Answer
from dermlens.deploy.pictures import Picture
from dermlens.deploy.requests import Patient

if TYPE_CHECKING:
    from dermlens.deploy.predictor import Predictor

AHEAD = 4
"""Pictures that are decoded while the network looks at another."""


def answer_stream(
    predictor: Predictor,
    images: Mapping[str, Path],
    patient_of: Callable[[str], Patient],
    prior: Sequence[float] | None = None,
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
    waiting: deque[tuple[str, Future[Picture]]] = deque()
    coming = iter(images.items())

    def decoded(path: Path) -> Picture:
        picture = Picture(path)
        picture.settle(predictor.document)
        return picture

    with ThreadPoolExecutor(1) as pool:
        try:
            while True:
                while len(waiting) < AHEAD and (entry := next(coming, None)) is not None:
                    waiting.append((entry[0], pool.submit(decoded, entry[1])))
                if not waiting:
                    return
                image_id, picture = waiting.popleft()
                try:
                    (found,) = predictor.answers([picture.result()], [patient_of(image_id)], prior=prior)
                    yield image_id, found
                except ImageError as error:
                    yield image_id, str(error)
        finally:
            pool.shutdown(cancel_futures=True)
