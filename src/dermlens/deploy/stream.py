"""Many images, one after the other: every readable one is answered, the others are named.

They are decoded in a process of their own, so that a file which makes the decoder hang, crash or take too
much memory costs its own answer and no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from dermlens.deploy.answers import Answer
from dermlens.deploy.pictures import Needs, Picture
from dermlens.deploy.requests import Patient
from dermlens.deploy.workers import PICTURE_MEMORY, Worker

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
