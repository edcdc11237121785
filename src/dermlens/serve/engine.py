"""Between requests and the network: a bounded queue, one thread that looks, several pictures at a time.

An idle network starts on the first picture that comes, without waiting for others; what arrives meanwhile
goes together in the next batch. Pictures are decoded beside it, two at a time, and of one request one after
the other, so that a request of many leaves room beside it; only small squares wait.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from dermlens.deploy.answers import Answer
from dermlens.deploy.pictures import Picture
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.requests import Patient
from dermlens.serve.config import ServeConfig
from dermlens.serve.metrics import Metrics
from dermlens.serve.problems import busy, late

DECODERS = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Asked:
    picture: Picture
    patient: Patient
    answer: Future[Answer]


class Engine:
    """Answers one question at a time, or a batch of them; `start` it before, `stop` it after.

    Attributes:
        predictor: the model.
    """

    def __init__(self, predictor: Predictor, config: ServeConfig, metrics: Metrics) -> None:
        self.predictor = predictor
        self._config, self._metrics = config, metrics
        self._started, self._inside = False, 0
        self._decoding: dict[int, float] = {}
        self._looking: dict[int, float] = {}
        self._waiting: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._look, name="network", daemon=True)

    def start(self) -> None:
        """Begin, by answering once: the first answer of a runtime is a slow one."""
        import numpy as np

        blank = np.full((64, 64, 3), 128, dtype=np.uint8)
        self.predictor.predict(blank)
        self._thread.start()
        self._started = True

    def stop(self) -> None:
        """Answer what is inside, and end."""
        self._started = False
        self._waiting.put(None)
        self._thread.join(self._config.seconds)
        self._decoders.shutdown(cancel_futures=True)

    @property
    def ready(self) -> bool:
        """Whether it has begun, and neither network nor all decoders work longer than a request may take."""
        late = time.monotonic() - self._config.seconds
        stuck = [sum(began < late for began in list(at.values())) for at in (self._decoding, self._looking)]
        return self._started and stuck[0] < DECODERS and not stuck[1]

    @contextmanager
    def room(self, images: int) -> Iterator[None]:
        """Take places in the queue. Raises: Problem 429 when there are too few."""
        if self._inside + images > self._config.queue:
            raise busy()
        self._inside += images
        self._metrics.inside.set(self._inside)
        try:
            yield
        finally:
            self._inside -= images
            self._metrics.inside.set(self._inside)

    async def decode(self, sources: Sequence[bytes]) -> list[Picture | str]:
        """Pictures, or the sentence why there is none.

        Raises:
            Problem: 503 when it takes too long.
        """

        async def one_by_one() -> list[Picture | str]:
            return [await self._beside(self._settle, source) for source in sources]

        return await self._in_time(one_by_one())

    async def answer(self, pictures: Sequence[Picture], patients: Sequence[Patient]) -> list[Answer]:
        """Answers, in order.

        Raises:
            Problem: 503 when they take too long.
        """
        answers: list[Future[Answer]] = []
        for picture, patient in zip(pictures, patients, strict=True):
            answers.append(Future())
            self._waiting.put(_Asked(picture, patient, answers[-1]))
        return await self._in_time(asyncio.gather(*map(asyncio.wrap_future, answers)))

    async def aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Other work that takes a while, beside the decoding. Raises: Problem 503 when it takes too long."""
        return await self._in_time(self._beside(work, *arguments))

    def _settle(self, source: bytes) -> Picture | str:
        return settled(self.predictor, source, self._config.max_pixels)

    def _beside(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        def timed() -> T:
            with _clocked(self._decoding):
                return work(*arguments)

        return asyncio.get_running_loop().run_in_executor(self._decoders, timed)

    async def _in_time(self, awaited: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(awaited, self._config.seconds)
        except TimeoutError:
            raise late() from None

    def _look(self) -> None:
        """Batch after batch, until there is none to come."""
        while (first := self._waiting.get()) is not None:
            asked, ended = [first], False
            while len(asked) < self._config.batch and not ended:
                try:
                    further = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if further is None:
                    ended = True
                else:
                    asked.append(further)
            with _clocked(self._looking):
                self._answer([one for one in asked if one.answer.set_running_or_notify_cancel()])
            if ended:
                return

    def _answer(self, asked: Sequence[_Asked]) -> None:
        if not asked:
            return
        self._metrics.batch.observe(len(asked))
        try:
            answers = self.predictor.answers([one.picture for one in asked], [one.patient for one in asked])
        except Exception as error:  # whoever asked gets it, and the thread goes on
            for one in asked:
                one.answer.set_exception(error)
            return
        for one, answer in zip(asked, answers, strict=True):
            one.answer.set_result(answer)


@contextmanager
def _clocked(since: dict[int, float]) -> Iterator[None]:
    """Note when this thread began, as long as it works."""
    since[threading.get_ident()] = time.monotonic()
    try:
        yield
    finally:
        del since[threading.get_ident()]


def settled(predictor: Predictor, source: bytes, max_pixels: int) -> Picture | str:
    """A picture reduced to what the network needs of it, or the sentence why there is none."""
    from dermlens.data.images import ImageError

    try:
        picture = Picture(source, max_pixels=max_pixels)
        picture.settle(predictor.document)
    except ImageError as error:
        return str(error)
    return picture
