"""Which colours a JPEG frame holds by its own signs: JFIF's mark, Adobe's, or components called R, G, B.

Source: ITU T.81, B.1.1 and B.2.2; ITU T.871 (JFIF), 6.1; Adobe Technical Note 5116, 18.
"""

from __future__ import annotations

from typing import Literal

APP0, APP14 = 0xE0, 0xEE
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Codes that begin a frame; the other three are of tables."""
ALONE = {0x01, *range(0xD0, 0xD9)}
"""Codes without a segment."""
SCAN = 0xDA
RGB_NAMES = ([82, 71, 66], [114, 103, 98])

Colours = Literal["RGB", "YCbCr"]


def jpeg_colours(frame: bytes) -> Colours | None:
    """The colours by the mark of JFIF, else of Adobe, else by the components' names; None without any.

    Args:
        frame: a JPEG stream of three components, from its first byte; a damaged one has no marks.
    """
    mark, named = _signs(frame)
    return mark or named


def marked_as(frame: bytes, is_rgb: bool) -> bytes:
    """A JPEG stream that every decoder reads alike: without a mark of its own it gets Adobe's.

    Args:
        frame: as for `jpeg_colours`.
        is_rgb: what the components are where neither mark nor names say: red, green and blue, or YCbCr.
    """
    mark, named = _signs(frame)
    if mark is not None or not frame.startswith(b"\xff\xd8"):
        return frame
    transform = 0 if named == "RGB" or (named is None and is_rgb) else 1
    return frame[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + frame[2:]


def _signs(frame: bytes) -> tuple[Colours | None, Colours | None]:
    """The colours by a mark, in the order in which libjpeg asks, and by the components' names."""
    adobe: Colours | None = None
    jfif: Colours | None = None
    named: Colours | None = None
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        code = frame[at + 1]
        if code == 0xFF or code in ALONE:
            at += 1 if code == 0xFF else 2
            continue
        segment = frame[at + 4 : at + 2 + int.from_bytes(frame[at + 2 : at + 4])]
        if code == APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = "RGB" if segment[11] == 0 else "YCbCr"
        elif code == APP0 and segment.startswith(b"JFIF"):
            jfif = "YCbCr"
        elif code in FRAMES and [*segment[6:15:3]] in RGB_NAMES:
            named = "RGB"
        elif code == SCAN:
            break
        at += 4 + len(segment)
    return jfif or adobe, named
