"""What a service may be asked to do at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from dermlens.section import Section

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
