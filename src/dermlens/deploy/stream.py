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
from dermlens.errors import UserError

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
    waiting: deque[tuple[str, Future[Picture | str]]] = deque()
    coming = iter(images.items())

    def decoded(path: Path) -> Picture | str:
        picture = Picture(path)
        try:
            picture.settle(predictor.document)
        except ImageError as error:
            return str(error)
        except UserError as error:  # an extra that reads such files is not installed
            return f"{path}: {error}"
        return picture

    with ThreadPoolExecutor(1) as pool:
        try:
            while True:
                while len(waiting) < AHEAD and (entry := next(coming, None)) is not None:
                    waiting.append((entry[0], pool.submit(decoded, entry[1])))
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
            pool.shutdown(cancel_futures=True)
