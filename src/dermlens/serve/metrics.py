"""What the service counts, in Prometheus's words: nothing of any image or patient."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one service.

    Attributes:
        requests: by path and status.
        seconds: from a request's head to its answer, by path.
        answers: images, by what became of them: answered, abstained, withheld, unreadable.
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
