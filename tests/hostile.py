"""Files and bodies made to make a reader allocate, loop or hang; a few bytes each unless asked for more.

Tests and benchmarks/service_limits.py send them, to services of their own alone.
"""

from __future__ import annotations

import io
import struct
import zlib
from itertools import pairwise

from PIL import Image

BOUNDARY = b"b"
FORM = "multipart/form-data; boundary=b"
JSON = "application/json"
Body = tuple[bytes, str]


def tiff(entries: dict[int, tuple[int, int, int]], tail: bytes = b"") -> bytes:
    """A TIFF of one directory: by tag its type, its number of values, and the value or where they are."""
    directory = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + tail


SHORT, LONG = 3, 4


def tiff_tile(side: int = 26752, kind: int = 4) -> bytes:
    """A small TIFF of 16 × 16 pixels whose one tile is a little larger."""
    return tiff(
        {256: (SHORT, 1, 16), 257: (SHORT, 1, 16), 258: (SHORT, 1, 8), 259: (SHORT, 1, 8), 262: (SHORT, 1, 1),
         277: (SHORT, 1, 1), 322: (kind, 1, side), 323: (kind, 1, side),
         324: (LONG, 1, 8), 325: (LONG, 1, 16)},
        bytes(40),
    )  # fmt: skip


def tiff_many_tiles(width: int, height: int, across: int, down: int) -> bytes:
    """A TIFF whose tiles, all of them the same bytes, reach far over its edges."""
    count, packed = -(-width // across) * -(-height // down), zlib.compress(bytes(across * down), 9)
    numbers = {
        256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: across, 323: down,
    }  # fmt: skip
    begin = 8 + 2 + 12 * (len(numbers) + 2) + 4
    lists = struct.pack(f"<{2 * count}I", *[begin + 8 * count] * count, *[len(packed)] * count)
    entries = {tag: (LONG, 1, value) for tag, value in numbers.items()}
    where = {324: (LONG, count, begin), 325: (LONG, count, begin + 4 * count)}
    return tiff(entries | where, lists + packed)


def tiff_twice(content: bytes, tag: int, value: int) -> bytes:
    """A TIFF with a second entry of a tag behind its first."""
    (count,) = struct.unpack_from("<H", content, 8)
    at = next(10 + 12 * n for n in range(count) if content[10 + 12 * n :][:2] == struct.pack("<H", tag))
    entry = struct.pack("<HHII", tag, LONG, 1, value)
    return content[:8] + struct.pack("<H", count + 1) + content[10 : at + 12] + entry + content[at + 12 :]


def tiff_strips(height: int = 65_000) -> bytes:
    """A TIFF whose strips are as long as any number."""
    return tiff(
        {256: (SHORT, 1, 600), 257: (LONG, 1, height), 258: (SHORT, 1, 8), 259: (SHORT, 1, 8),
         262: (SHORT, 1, 1), 273: (LONG, 1, 8), 277: (SHORT, 1, 65_535), 278: (LONG, 1, 2**32 - 1),
         279: (LONG, 1, 16)},
    )  # fmt: skip


def tiff_directory(count: int, size: int) -> bytes:
    """A TIFF of entries that all point to the same bytes."""
    own = {
        256: (SHORT, 1, 16),
        257: (SHORT, 1, 16),
        258: (SHORT, 1, 8),
        262: (SHORT, 1, 1),
        273: (LONG, 1, 8),
    }
    many = {40_000 + n: (1, size, 8) for n in range(count)}
    return tiff(own | many, bytes(size))


def tiff_offsets(count: int) -> bytes:
    """A TIFF with a list of strips longer than the picture has lines."""
    own = {
        256: (SHORT, 1, 16),
        257: (SHORT, 1, 16),
        258: (SHORT, 1, 8),
        259: (SHORT, 1, 8),
        262: (SHORT, 1, 1),
    }
    return tiff(own | {273: (LONG, count, 100), 279: (LONG, 1, 16)}, bytes(4 * count))


def bmp_runs(width: int, height: int, size: int = 1024, bits: int = 8) -> bytes:
    """A run-length coded BMP: a pixel of each line, then its end, up to which it is filled."""
    palette = bytes(4 * 2**bits)
    offset = 54 + len(palette)
    head = struct.pack("<IHHI", offset + size, 0, 0, offset)
    info = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, 2 if bits == 4 else 1, size, 0, 0, 2**bits, 0
    )
    return b"BM" + head + info + palette + b"\x01\x05\0\0" * (size // 4)


def bmp_bare(width: int, height: int) -> bytes:
    """A BMP of as many pixels, without them."""
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, between: bytes = b"", mode: str = "RGB") -> bytes:
    """A PNG of zeros that is what it says."""
    colour, samples = {"L": (0, 1), "RGB": (2, 3), "RGBA": (6, 4)}[mode]
    packed, row = zlib.compressobj(1), bytes(1 + samples * width)
    data = b"".join(packed.compress(row) for _ in range(height)) + packed.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + between + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png_chunks(count: int) -> bytes:
    """A PNG with many empty chunks."""
    return png(16, 16, chunk(b"teSt", b"") * count)


def jpeg(**options: bool) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 150, 140)).save(stream, "JPEG", **options)
    return stream.getvalue()


def jpeg_segments(count: int) -> bytes:
    """A JPEG with many empty segments."""
    return b"\xff\xd8" + b"\xff\xe5\0\2" * count + jpeg()[2:]


def jpeg_junk(size: int) -> bytes:
    """A JPEG with rubbish before its first segment."""
    return b"\xff\xd8" + bytes(size) + jpeg()[2:]


def jpeg_twice() -> bytes:
    """A JPEG that announces another size the second time."""
    content = jpeg()
    at = content.index(b"\xff\xc0")
    frame = content[at : at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")]
    return content[:at] + frame[:5] + b"\xff\xdc\xff\xdc" + frame[9:] + content[at:]


def jpeg_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (200, 150, 140)).save(stream, "JPEG", progressive=True)
    content = stream.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * (scans - content.count(b"\xff\xda")) + content[-2:]


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def dicom(rows: int, columns: int, fragments: list[bytes], syntax: bytes = b"1.2.840.10008.1.2.5") -> bytes:
    """A DICOM photograph of encapsulated fragments."""
    meta = element(2, 0x10, b"UI", syntax)
    meta = element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta
    head = b"".join((
        element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.77.1.4"),
        element(0x28, 2, b"US", struct.pack("<H", 3)),
        element(0x28, 4, b"CS", b"RGB"),
        element(0x28, 6, b"US", struct.pack("<H", 0)),
        element(0x28, 0x10, b"US", struct.pack("<H", rows)),
        element(0x28, 0x11, b"US", struct.pack("<H", columns)),
        *(element(0x28, tag, b"US", struct.pack("<H", value))
          for tag, value in ((0x100, 8), (0x101, 8), (0x102, 7), (0x103, 0))),
    ))  # fmt: skip
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(one)) + one for one in (b"", *fragments))
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + items
    return bytes(128) + b"DICM" + meta + head + pixels + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def dicom_overlapping(size: int, rows: int = 6000, columns: int = 6000) -> bytes:
    """Fifteen segments of run lengths over the same bytes, forth and back."""
    begins = [64 if n % 2 == 0 else size - 2 for n in range(15)]
    frame = struct.pack("<16I", 15, *begins) + b"\0\x05" * ((size - 64) // 2)
    return dicom(rows, columns, [frame])


def dicom_nothing(size: int, rows: int = 600, columns: int = 600) -> bytes:
    """Three segments of codes that mean nothing (128)."""
    third = (size - 64) // 3
    frame = struct.pack("<16I", 3, 64, 64 + third, 64 + 2 * third, *[0] * 12) + b"\x80" * (size - 64)
    return dicom(rows, columns, [frame])


def dicom_fragments(count: int) -> bytes:
    """A frame in as many empty pieces."""
    return dicom(600, 600, [b""] * count)


def form(*pictures: bytes) -> Body:
    """Pictures as a browser sends them."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    return b"".join(head + one + b"\r\n" for one in pictures) + b"--b--\r\n", FORM


def form_parts(count: int) -> Body:
    """A form of empty fields."""
    return b'--b\r\nContent-Disposition: form-data; name="age"\r\n\r\n\r\n' * count + b"--b--\r\n", FORM


def form_almost(size: int) -> Body:
    """A file of beginnings of boundaries."""
    return form(b"\r\n--" * (size // 4))


def form_headers(size: int) -> Body:
    """A part with headers without end."""
    return b"--b\r\n" + b"a:b\r\n" * (size // 5), FORM


def json_lists(size: int) -> Body:
    """Lists in lists."""
    return b"[" + b"[[[[]]]]," * (size // 9) + b"0]", JSON


def json_objects(size: int) -> Body:
    return b'{"images":[' + b'{"a":0},' * (size // 8) + b"0]}", JSON


def json_keys(size: int) -> Body:
    return b"{" + b",".join(b'"%06d":0' % n for n in range(size // 11)) + b"}", JSON


def json_strings(size: int) -> Body:
    """Empty images."""
    return b'{"images":[' + b'"",' * (size // 3) + b'""]}', JSON


def json_digits(size: int) -> Body:
    return b'{"images":["aaaa"],"age":' + b"1" * size + b"}", JSON


def json_escapes(size: int) -> Body:
    return b'{"images":["' + b"\\u0041" * (size // 6) + b'"]}', JSON


def chunks(size: int, piece: bytes = b"1\r\nx\r\n") -> bytes:
    """The body of a request in chunks of one byte, without its end."""
    return piece * (size // len(piece))


SMALL_FILES = {
    "a tile": tiff_tile(),
    "a tile, then a small one": tiff_twice(tiff_twice(tiff_tile(), 322, 16), 323, 16),
    "a tile of signed numbers": tiff_tile(kind=9),
    "a tile behind an odd mark": b"II\0*" + tiff_tile()[4:],
    "long tiles across": tiff_many_tiles(65_520, 64, 64, 65_520),
    "large tiles along": tiff_many_tiles(65_520, 16, 2048, 2048),
    "strips": tiff_strips(),
    "a directory": tiff_directory(900, 2000),
    "offsets": tiff_offsets(300_000),
    "runs of 39,999,999 × 1": bmp_runs(39_999_999, 1),
    "runs of 1 × 39,999,999": bmp_runs(1, 39_999_999),
    "runs of 6000 × 6000": bmp_runs(6000, 6000),
    "runs of four bits": bmp_runs(39_999_999, 1, bits=4),
    "more runs than pixels": bmp_runs(100, 100, 400_000),
    "a BMP without its pixels": bmp_bare(6000, 6000),
    "thin": png(2_000_000, 1),
    "tall": png(1, 2_000_000, mode="L"),
    "chunks": png_chunks(70_000),
    "segments": jpeg_segments(70_000),
    "junk": jpeg_junk(300_000),
    "two sizes": jpeg_twice(),
    "scans": jpeg_scans(64, 200),
    "overlapping": dicom_overlapping(200_000),
    "codes of nothing": dicom_nothing(3_000_000),
    "fragments": dicom_fragments(30_000),
    "another format in a frame": dicom(64, 64, [png(4000, 1000)], b"1.2.840.10008.1.2.4.50"),
}
"""Each is refused by what it announces."""
SMALL_BODIES = {
    "lists": json_lists(200_000),
    "objects": json_objects(200_000),
    "keys": json_keys(200_000),
    "strings": json_strings(200_000),
    "digits": json_digits(200_000),
    "parts": form_parts(5000),
    "headers": form_headers(200_000),
}
"""Likewise."""


def overlaps(content: bytes) -> bool:
    """Whether a frame's segments go back; for the tests of these files themselves."""
    at = content.index(struct.pack("<I", 15))
    begins = struct.unpack("<16I", content[at : at + 64])[1:]
    return any(begin > end for begin, end in pairwise(begins))
