"""The process that takes requests apart and decodes their pictures, in `dermlens.deploy.decoder`'s loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dermlens.data.images import MAX_PIXELS
from dermlens.data.structure import check_structure
from dermlens.deploy.decoder import Handler, Message, picture_message, prepare, run
from dermlens.deploy.pictures import Needs
from dermlens.serve.body import read_body
from dermlens.serve.problems import Problem

QUICK_WORK = 12_000_000
"""Pixels, plain ones, up to which a picture goes before larger ones."""
RUN_LENGTHS = b"1.2.840.10008.1.2.5"
RUN_COST = 64
"""Pixels that a byte of run lengths may become."""


def work(data: bytes) -> float:
    """About how many plain pixels a decoder will touch, by what the file announces."""
    if data[128:132] == b"DICM":
        return len(data) * (RUN_COST if RUN_LENGTHS in data[:1024] else 1)
    try:
        return check_structure(data).work
    except ValueError:  # which costs nothing: it is refused
        return 0


def _bodies(needs: Needs) -> dict[str, Handler]:
    def body(header: dict[str, Any], blob: bytes) -> Iterator[Message]:
        """First how many images there are and what is said of the patient, then each, or that it is large.

        `only` has the places of those that are wanted; none for all. With `quick`, large ones are not
        decoded.
        """
        try:
            content = read_body(blob, header["type"], header["most"])
        except Problem as problem:
            yield {"problem": [problem.status, problem.sentence]}, b""
            return
        del blob
        count = len(content.images)
        yield {"images": count, "words": content.words}, b""
        wanted = range(count) if header["only"] is None else header["only"]
        for place in wanted:
            data = bytes(content.images[place])
            if header["quick"] and work(data) > QUICK_WORK:
                yield {"large": True}, b""
            else:
                yield picture_message(needs, data, min(MAX_PIXELS, header["pixels"]))

    return {"body": body}


def main() -> None:
    """Take requests apart."""
    prepare()
    run(_bodies)
