"""What a service may be asked to do at once, what it counts, and how it refuses."""

from __future__ import annotations

from typing import Annotated

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import Field, PositiveFloat, PositiveInt

from dermlens.documents import Section

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ServeConfig(Section):
    """Limits of the service.

    Attributes:
        max_bytes: of a request's body.
        max_images: in a request.
        max_pixels: of an image, by its header.
        queue: images that may be inside at once; a request beyond is turned away with 503, and one that has
            more by itself with 413.
        batch: images that the network looks at together under load.
        seconds: for a request's body to arrive, and again for its answer.
        api_key: what `X-API-Key` must hold; none lets everyone in.
        hosts: names and addresses, without a port, that requests may be made to; those of this machine alone
            by default. A page of elsewhere whose name is made to mean this machine is not among them.
        origins: pages of other hosts that may ask (CORS); none by default.
    """

    max_bytes: PositiveInt = 32 * 2**20
    max_images: PositiveInt = 16
    max_pixels: PositiveInt = 40_000_000
    queue: PositiveInt = 128
    batch: PositiveInt = 8
    seconds: PositiveFloat = 30.0
    api_key: Annotated[str, Field(min_length=8)] | None = None
    hosts: tuple[str, ...] = LOOPBACK
    origins: tuple[str, ...] = ()

    @property
    def most_images(self) -> int:
        """In a request, as they must all be inside at once."""
        return min(self.max_images, self.queue)


LONGEST_SENTENCE = 300
"""Characters. What a client sent may stand in a sentence, and is not sent back at length."""


class Problem(Exception):  # noqa: N818 (what HTTP calls it: RFC 9457)
    """A request that gets no answer.

    Attributes:
        status: of HTTP.
        sentence: why, for a person; shortened where it is long.
        headers: to send along.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, shortened(sentence), headers or {}


def shortened(sentence: str) -> str:
    """A sentence on one line, of at most `LONGEST_SENTENCE` characters, without what cannot be printed."""
    line = "".join(one if one.isprintable() else " " for one in sentence[: 2 * LONGEST_SENTENCE])
    return line if len(line) <= LONGEST_SENTENCE else f"{line[: LONGEST_SENTENCE - 1]}…"


def busy() -> Problem:
    """Too many images are inside already."""
    return Problem(
        503, "the service has as much to do as it takes on; ask again in a second", {"Retry-After": "1"}
    )


def late() -> Problem:
    """The answer took longer than a request may."""
    return Problem(503, "the answer took too long; ask again later", {"Retry-After": "5"})


# What the service counts, in Prometheus's words: nothing of any image or patient.


SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one service.

    Attributes:
        requests: by path and status.
        seconds: from a request's head to its answer, by path.
        answers: images, by what became of them: answered, uncertain, withheld, unreadable.
        inside: images that are being worked on.
        batch: images that the network looked at together.
        ended: processes that were ended while they decoded, by why.
    """

    def __init__(self, model: str) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("dermlens_requests", "Requests.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "dermlens_request_seconds", "Time to answer.", ["path"], buckets=SECONDS, registry=registry
        )
        self.answers = Counter("dermlens_images", "Images by outcome.", ["outcome"], registry=registry)
        self.inside = Gauge("dermlens_images_inside", "Images being worked on.", registry=registry)
        self.batch = Histogram(
            "dermlens_batch_images", "Images in a batch.", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.ended = Counter(
            "dermlens_decoders_ended", "Decoding processes ended and replaced.", ["why"], registry=registry
        )
        Gauge("dermlens_model_info", "The model.", ["model"], registry=registry).labels(model).set(1)

    def text(self) -> bytes:
        """All of it, as a scraper reads it."""
        return generate_latest(self._registry)
