"""How many scans a JPEG has: the passes over all its pixels, of which a few kilobytes can announce thousands.

Source: ITU T.81, B.1.1 (markers) and B.2 (order).
"""

from __future__ import annotations

import re

MOST_SCANS = 100
"""As libtiff has it; libjpeg's own progressive files have 10, and no order of passes makes sense of more."""
MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""Not a byte of the pixels that is stuffed, nor a restart between them."""
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN, TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG, up to its end mark, has more than `MOST_SCANS`; what its segments hold is stepped over.

    Args:
        data: from its first byte.
    """
    scans = at = 0
    while scans <= MOST_SCANS and (found := MARKER.search(data, at)) is not None:
        at, code = found.end(), found[1][0]
        if code == END_OF_IMAGE:
            break
        if code not in (START_OF_IMAGE, TEMPORARY):
            at += int.from_bytes(data[at : at + 2])
        scans += code == START_OF_SCAN
    return scans > MOST_SCANS
