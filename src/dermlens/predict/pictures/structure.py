"""What a picture's file announces, checked before a decoder allocates or loops for it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

# The size of the picture is one of many: a TIFF of 178 bytes may have a tile of 700 million pixels, a BMP of
# one kilobyte a run-length code of 40 million, a JPEG a million segments. The checks walk headers alone, in
# steps whose number is bounded, and refuse what no camera and no program writes.
#
# Sources: ITU T.81 B (JPEG), W3C PNG 5, TIFF 6.0 section 2, BITMAPINFOHEADER (BMP).


LONGEST_SIDE = 65_535
"""Pixels; a JPEG cannot have more. A decoder needs memory for each line, however thin the picture is."""
MOST_SEGMENTS = 4096
"""Of a JPEG: application data, tables, scans."""
MOST_SCANS = 100
"""Of a JPEG, passes over all its pixels, of which a few kilobytes can announce thousands. As libtiff has it;
libjpeg's own progressive files have 10, and no order of passes makes sense of more."""
MOST_JUNK = 65_536
"""Bytes between the segments of a JPEG before its first scan; a reader skips them one by one."""
MOST_CHUNKS = 65_536
"""Of a PNG; the pixels of 64 million in pieces of 8 KB are fewer."""
MOST_CHUNK_BYTES = 8 * 2**20
"""Of a PNG's chunk that holds no pixels."""
MOST_RUN_PIXELS = 4_000_000
"""Of a run-length coded BMP, which Pillow unrolls in Python."""
MOST_ENTRIES = 1024
"""Of a TIFF's directory."""
MOST_SAMPLE_BITS = 128
"""A pixel of a TIFF, all its samples together."""
LEAST_TILE = 2**22
"""Pixels: a tile of a TIFF may have so many, however small the picture is."""
MOST_PIECES = 2**18
"""Strips or tiles of a TIFF."""
MOST_PADDING = 4
"""Pixels of all tiles of a TIFF for each of the picture: tiles reach over its edges, unpacked whole."""
RUN_COST, SCAN_COST, JPEG_COST = 16, 0.1, 0.25
"""In plain pixels: a run-length coded one; one in each scan of a JPEG, and once at a fraction of its size."""

MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""Not a byte of the pixels that is stuffed, nor a restart between them."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
BARE = (0xD8, 0x01)
"""Markers without a length."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes of a TIFF's types."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What a file says of itself.

    Attributes:
        width, height: in pixels; 0 where the file does not say.
        passes: what a pixel costs, in plain ones.
    """

    width: int = 0
    height: int = 0
    passes: float = 1.0

    @property
    def work(self) -> float:
        """Pixels that are touched on the way."""
        return self.width * self.height * self.passes


def check_structure(data: bytes) -> Announced:
    """Refuse a picture whose headers announce what no decoder should be asked for.

    Args:
        data: of a JPEG, PNG, BMP or TIFF; anything else, and what is damaged, is left to the decoder.

    Raises:
        ValueError: a sentence without the file's name.
    """
    for begin, walk in WALKS:
        if data.startswith(begin):
            try:
                found = walk(data)
            except (struct.error, IndexError, ZeroDivisionError):  # the file ends inside a header
                return Announced()
            if max(found.width, found.height) > LONGEST_SIDE:
                raise ValueError(
                    f"{found.width} × {found.height} pixels; the longest side allowed is {LONGEST_SIDE}"
                )
            return found
    return Announced()


def _jpeg(data: bytes) -> Announced:
    at, segments, scans, junk = 2, 0, 0, 0
    width = height = 0
    while (found := MARKER.search(data, at)) is not None:
        code, segments = found[1][0], segments + 1
        if not scans:
            junk += found.start() - at
            if junk > MOST_JUNK:
                raise ValueError("a JPEG with rubbish between its segments; save it anew")
        if segments > MOST_SEGMENTS:
            raise ValueError(f"a JPEG of more than {MOST_SEGMENTS} segments; save it anew")
        at = found.end()
        if code == END_OF_IMAGE:
            break
        if code in FRAMES and not scans:
            if width:
                raise ValueError("a JPEG that announces its size twice")
            height, width = struct.unpack_from(">HH", data, at + 3)
        scans += code == START_OF_SCAN
        if scans > MOST_SCANS:
            raise ValueError(f"a JPEG of more than {MOST_SCANS} scans; save it as a plain one")
        if code not in BARE:
            at += int.from_bytes(data[at : at + 2])
    return Announced(width, height, JPEG_COST + SCAN_COST * scans)


def _png(data: bytes) -> Announced:
    at, chunks = 8, 0
    width = height = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks += 1
        if chunks > MOST_CHUNKS:
            raise ValueError(f"a PNG of more than {MOST_CHUNKS} chunks; save it anew")
        if kind == b"IHDR":
            if width:
                raise ValueError("a PNG that announces its size twice")
            width, height = struct.unpack_from(">II", data, at + 8)
        elif kind not in (b"IDAT", b"fdAT") and length > MOST_CHUNK_BYTES:
            raise ValueError(
                f"a PNG with {length / 2**20:.0f} MB apart from its pixels; save it without them"
            )
        elif kind == b"IEND":
            break
        at += 12 + length
    return Announced(width, height)


def _bmp(data: bytes) -> Announced:
    offset, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    width, height = abs(width), abs(height)
    if compression in (1, 2):
        if width * height > MOST_RUN_PIXELS:
            raise ValueError(
                f"a run-length coded BMP of {width} × {height} pixels, more than"
                f" {MOST_RUN_PIXELS // 10**6} million; save it without run lengths"
            )
        if len(data) - offset > 3 * width * height + 4 * height + 1024:
            raise ValueError("a run-length coded BMP with more codes than pixels")
        return Announced(width, height, RUN_COST)
    row = (width * bits + 31) // 32 * 4
    if width <= LONGEST_SIDE and row * (height - 1) + (width * bits + 7) // 8 > len(data) - offset:
        raise ValueError(f"truncated: a BMP of {width} × {height} pixels has more bytes than this file")
    return Announced(width, height)


def _tiff(data: bytes) -> Announced:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    (at,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
    if count > MOST_ENTRIES:
        raise ValueError(f"a TIFF with {count} entries in its directory; the most allowed is {MOST_ENTRIES}")
    at += 8 if big else 2
    form, inside, step = ("HHQ", 8, 20) if big else ("HHI", 4, 12)
    tags: dict[int, tuple[int, ...]] = {}
    lengths: dict[int, int] = {}
    total = 0
    for begin in range(at, at + count * step, step):
        tag, kind, values = struct.unpack_from(f"{order}{form}", data, begin)
        if tag in lengths:  # readers differ in which of the two they take
            raise ValueError(f"a TIFF whose directory has the entry {tag} twice")
        if tag in NUMBERS and kind not in INTEGERS:
            raise ValueError(f"a TIFF whose entry {tag} is no number that counts pixels")
        bytes_ = values * SIZES.get(kind, 1)
        total += bytes_ if bytes_ > inside else 0
        lengths[tag] = values
        place = begin + step - inside
        if bytes_ > inside:
            (place,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, place)
        if kind in INTEGERS and tag in NUMBERS:
            few = min(values, 8)
            tags[tag] = struct.unpack_from(f"{order}{few}{INTEGERS[kind]}", data, place)
    if total > len(data):
        raise ValueError("a TIFF whose directory announces more than the file has")
    return _check_pieces(tags, lengths, len(data))


WIDTH, HEIGHT, BITS, COMPRESSION, OFFSETS, SAMPLES, ROWS = 256, 257, 258, 259, 273, 277, 278
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS = 322, 323, 324
NUMBERS = frozenset({WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, ROWS, TILE_WIDTH, TILE_HEIGHT})
PLAIN = 1


def _check_pieces(tags: dict[int, tuple[int, ...]], lengths: dict[int, int], available: int) -> Announced:
    """What the tags of a TIFF say of its strips and tiles."""

    def one(tag: int, otherwise: int) -> int:
        return (tags.get(tag) or (otherwise,))[0]

    width, height = one(WIDTH, 0), one(HEIGHT, 0)
    samples = one(SAMPLES, 1)
    bits = max(tags.get(BITS, (1,))) * samples
    if bits > MOST_SAMPLE_BITS:
        raise ValueError(f"a TIFF of {bits} bits a pixel; save it as 8-bit RGB")
    pixels = width * height
    if TILE_WIDTH in tags or TILE_HEIGHT in tags:
        across, down = one(TILE_WIDTH, 0), one(TILE_HEIGHT, 0)
        if across * down > max(pixels, LEAST_TILE) or max(across, down) > LONGEST_SIDE:
            raise ValueError(f"a TIFF of {width} × {height} pixels with a tile of {across} × {down}")
    else:
        across, down = width, max(1, min(one(ROWS, height), height))
    pieces = -(-width // across) * -(-height // down) * samples if across and down else 0
    listed = max(lengths.get(OFFSETS, 0), lengths.get(TILE_OFFSETS, 0))
    if max(pieces, listed) > MOST_PIECES:
        raise ValueError(f"a TIFF in more than {MOST_PIECES} pieces; save it in fewer")
    unpacked = across * down * (pieces // samples)
    if unpacked > max(MOST_PADDING * pixels, LEAST_TILE):
        raise ValueError(f"a TIFF of {width} × {height} pixels in tiles of {unpacked // 10**6} million")
    if one(COMPRESSION, PLAIN) == PLAIN and max(width, height) <= LONGEST_SIDE:
        needed = (width * bits + 7) // 8 * height
        if needed > available:
            raise ValueError(f"truncated: a TIFF of {width} × {height} pixels has more bytes than this file")
    return Announced(width, height, max(1.0, unpacked / max(pixels, 1)))


WALKS = (
    (b"\xff\xd8", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"II\0*", _tiff),  # not TIFF's, and Pillow reads them
    (b"MM*\0", _tiff),
    (b"II+\0", _tiff),
    (b"MM\0+", _tiff),
)
"""By the bytes that a file begins with."""


# Which colours a JPEG frame holds by its own signs: JFIF's mark, Adobe's, or components called R, G, B.
#
# Source: ITU T.81, B.1.1 and B.2.2; ITU T.871 (JFIF), 6.1; Adobe Technical Note 5116, 18.


APP0, APP14 = 0xE0, 0xEE
FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
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
    if mark is not None or not is_jpeg(frame):
        return frame
    transform = 0 if named == "RGB" or (named is None and is_rgb) else 1
    return frame[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + frame[2:]


def is_jpeg(frame: bytes) -> bool:
    """Whether bytes begin as a JPEG stream does."""
    return frame.startswith(b"\xff\xd8")


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
        elif code in FRAME_MARKERS and [*segment[6:15:3]] in RGB_NAMES:
            named = "RGB"
        elif code == SCAN:
            break
        at += 4 + len(segment)
    return jfif or adobe, named
