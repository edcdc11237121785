"""Between requests and the network: processes that decode, a bounded queue, one thread that looks.

Bodies are taken apart and pictures decoded in two processes with a memory and a time limit, ended and
replaced when a file passes them. Small pictures go first, and one process is for them alone; a picture that
is large, or took too long among the small ones, waits for the other, and of one request they go one after the
other.

An idle network starts on the first picture that comes, without waiting for others; what arrives meanwhile
goes together in the next batch. Only small squares wait.
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

from dermlens.predict.answers import Answer
from dermlens.predict.decoding import Lane, Pool, Reply, Worker, read, why
from dermlens.predict.patients import Patient
from dermlens.predict.picture import Needs, Picture
from dermlens.predict.predictor import Predictor
from dermlens.serve.limits import Metrics, Problem, ServeConfig, busy, late

READER = "dermlens.serve.bodies"
QUICK_SECONDS, QUICK_MEMORY = 2.0, 160 * 2**20
"""Of a body with what is small in it."""
LARGE_SECONDS, LARGE_MEMORY = 10.0, 448 * 2**20
"""Of one large picture: 40 million pixels take 0.35 GB and some seconds."""
QUICK_BYTES = 4 * 2**20
"""Bodies beyond it are taken apart among the large pictures."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Asked:
    picture: Picture
    patient: Patient
    answer: Future[Answer]


@dataclass(frozen=True, slots=True)
class Request:
    """A body taken apart.

    Attributes:
        pictures: in their order; for one that cannot be read the sentence why.
        words: age, sex and site, as they were given.
    """

    pictures: list[Picture | str]
    words: dict[str, str]


class Engine:
    """Answers one question at a time, or a batch of them; `start` it before, `stop` it after.

    Attributes:
        predictor: the model.
    """

    def __init__(self, predictor: Predictor, config: ServeConfig, metrics: Metrics) -> None:
        self.predictor = predictor
        self._config, self._metrics = config, metrics
        self._started, self._inside = False, 0
        self._working: dict[int, float] = {}
        self._waiting: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._pool: Pool | None = None
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._thread = threading.Thread(target=self._look, name="network", daemon=True)

    def start(self) -> None:
        """Begin, by answering once: the first answer of a runtime is a slow one.

        Raises:
            RuntimeError: no process that decodes begins.
        """
        import numpy as np

        needs = Needs.of(self.predictor.document)
        quick, large = Worker(needs, QUICK_MEMORY, READER), Worker(needs, LARGE_MEMORY, READER)
        self._pool = Pool([(quick, ("quick",)), (large, ("large", "quick"))])
        blank = np.full((64, 64, 3), 128, dtype=np.uint8)
        self.predictor.predict(blank)
        self._pool.start()
        self._thread.start()
        self._started = True

    def stop(self) -> None:
        """Answer what is inside, and end."""
        self._started = False
        self._waiting.put(None)
        self._thread.join(self._config.seconds)
        self._beside.shutdown(cancel_futures=True)
        if self._pool is not None:
            self._pool.stop()

    @property
    def ready(self) -> bool:
        """Whether it has begun, its processes do, and its network works no longer than a request may take."""
        since = time.monotonic() - self._config.seconds
        stuck = any(began < since for began in list(self._working.values()))
        return self._started and not stuck and self._pool is not None and not self._pool.failing

    def check_room(self) -> None:
        """Whether there is a place in the queue now, before a body is read. Raises: Problem 503."""
        if self._inside >= self._config.queue:
            raise busy()

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Take a place in the queue. Raises: Problem 503 when there is none."""
        place = Room(self)
        try:
            place.grow(1)
            yield place
        finally:
            place.leave()

    async def read(self, body: bytearray, content_type: str, most: int, room: Room) -> Request:
        """Take a body apart and decode its pictures.

        Args:
            body: all of it.
            content_type: the header.
            most: images that it may have.
            room: a place in the queue, which grows to one for each image.

        Raises:
            Problem: as `read_body` has it; 422 when it cannot be taken apart in the time
                and memory that a body may take; 503 when there is too little room, or it takes too long.
        """
        return await self._in_time(self._read(body, content_type, most, room))

    async def _read(self, body: bytearray, content_type: str, most: int, room: Room) -> Request:
        header = {"task": "body", "type": content_type, "most": most, "pixels": self._config.max_pixels}
        lanes: list[Lane] = ["quick", "large"] if len(body) <= QUICK_BYTES else ["large"]
        for lane in lanes:
            reply = await self._ask(lane, header | {"only": None, "quick": True}, body)
            if reply.messages:
                break
        else:
            raise Problem(422, f"the request cannot be taken apart: {why(reply.ended, LARGE_SECONDS)}")
        first = reply.messages.pop(0)[0]
        if "problem" in first:
            raise Problem(*first["problem"])
        count: int = first["images"]
        room.grow(count)
        found: dict[int, Picture | str] = {}
        large: list[int] = []
        wanted = list(range(count))
        while True:
            for place, message in zip(wanted, reply.messages, strict=False):
                if "large" in message[0]:
                    large.append(place)
                else:
                    found[place] = read(message)
            if reply.ended == "done":
                break
            # it ended at the next one, which tries again by itself; those behind it were not reached
            large += wanted[len(reply.messages) :][:1]
            wanted = wanted[len(reply.messages) + 1 :]
            if not wanted:
                break
            reply = await self._ask(lane, header | {"only": wanted, "quick": True}, body)
            reply.messages[:1] = []
        for place in large:
            reply = await self._ask("large", header | {"only": [place], "quick": False}, body)
            done = len(reply.messages) > 1
            found[place] = (
                read(reply.messages[1]) if done else f"the image: {why(reply.ended, LARGE_SECONDS)}"
            )
        return Request([found[place] for place in range(count)], first["words"])

    async def _ask(self, lane: Lane, header: dict[str, Any], body: bytearray) -> Reply:
        assert self._pool is not None
        seconds = min(QUICK_SECONDS if lane == "quick" else LARGE_SECONDS, self._config.seconds)
        reply = await asyncio.wrap_future(self._pool.submit(lane, header, body, seconds))
        if reply.ended != "done":
            self._metrics.ended.labels(reply.ended).inc()
        return reply

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
        """Other work that takes a while, one at a time. Raises: Problem 503 when it takes too long."""

        def timed() -> T:
            with _clocked(self._working):
                return work(*arguments)

        return await self._in_time(asyncio.get_running_loop().run_in_executor(self._beside, timed))

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
            with _clocked(self._working):
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

    def _take(self, images: int) -> None:
        if self._inside + images > self._config.queue:
            raise busy()
        self._inside += images
        self._metrics.inside.set(self._inside)


class Room:
    """Places that a request has in the queue of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._places = engine, 0

    def grow(self, images: int) -> None:
        """Have a place for each of so many. Raises: Problem 503 when there are too few."""
        further = images - self._places
        self._engine._take(further)
        self._places += further

    def leave(self) -> None:
        """Give them back."""
        self._engine._take(-self._places)
        self._places = 0


@contextmanager
def _clocked(since: dict[int, float]) -> Iterator[None]:
    """Note when this thread began, as long as it works."""
    since[threading.get_ident()] = time.monotonic()
    try:
        yield
    finally:
        del since[threading.get_ident()]
