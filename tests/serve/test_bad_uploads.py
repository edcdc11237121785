"""A hundred kinds of bad upload: each gets a 4xx and one sentence, and leaves the service as it was."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from .conftest import LESION

GOOD = LESION.read_bytes()
BOUNDARY = "x-lesion"


def encoded(kind: str, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def png_of(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that announces what it likes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def bmp_of(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def cuts() -> Iterator[tuple[str, bytes]]:
    """Truncations at each header and in the pixels of every format."""
    kinds = {kind: encoded(kind) for kind in ("JPEG", "PNG", "BMP", "TIFF")} | {"lesion": GOOD}
    for kind, content in kinds.items():
        for count in (2, 8, 20, 33, 120, len(content) // 2, len(content) * 9 // 10):
            yield f"{kind} cut to {count}", content[:count]
    markers = [
        at for at in range(len(GOOD) - 1) if GOOD[at] == 0xFF and GOOD[at + 1] in b"\xc0\xc4\xdb\xda\xe0"
    ]
    for at in markers[:10]:
        yield f"lesion cut at the marker in byte {at}", GOOD[: at + 2]


def files() -> Iterator[tuple[str, bytes]]:
    yield from cuts()
    yield "nothing", b""
    yield "text", b"This is no picture."
    yield "html", b"<html><script>alert(1)</script></html>"
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield "zip", b"PK\x03\x04" + bytes(200)
    yield "pdf", b"%PDF-1.7\n" + bytes(200)
    yield "elf", b"\x7fELF" + bytes(200)
    yield "pickle", b"\x80\x04cposix\nsystem\n."
    yield "zeros", bytes(5000)
    yield "noise", np.random.default_rng(1).bytes(5000)
    yield "gif", encoded("GIF", mode="P")
    yield "webp", encoded("WEBP")
    yield "ico", encoded("ICO", (32, 32))
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    yield "psd", b"8BPS\x00\x01" + bytes(200)
    yield "fits", b"SIMPLE  =                    T" + b" " * 2850
    yield "jpeg 2000", b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(200)
    yield "heic", b"\x00\x00\x00\x18ftypheic" + bytes(200)
    yield "bomb by its header, png", png_of(50_000, 50_000)
    yield "bomb by its header, over the limit of the service", png_of(7000, 7000, bytes(100))
    yield "bomb by its header, bmp", bmp_of(60_000, 60_000)
    yield "bomb of zeros", png_of(20_000, 20_000, bytes(10_000_000))
    yield "png without pixels", png_of(40, 40)
    yield "png of no size", png_of(0, 40, bytes(100))
    yield "png of impossible depth", png_of(40, 40, bytes(9999), depth=3)
    yield "png whose check sum is wrong", encoded("PNG")[:29] + b"\0\0\0\0" + encoded("PNG")[33:]
    yield "bmp of no size", bmp_of(0, 0)
    yield "bmp of negative width", bmp_of(-5, 5)
    yield "html before a jpeg", b"<html>" + GOOD
    yield "a jpeg behind a zip", b"PK\x03\x04" + GOOD
    yield "jpeg marker and text", b"\xff\xd8\xff\xe0" + b"A" * 500
    yield "tiff that points nowhere", b"II*\x00\xff\xff\xff\x7f"
    yield "tiff that points at itself", b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00"
    yield "grey in 32 bits", encoded("TIFF", mode="I")
    yield "dicom head and nothing", bytes(128) + b"DICM"
    yield "dicom head and noise", bytes(128) + b"DICM" + np.random.default_rng(2).bytes(900)
    broken = bytearray(GOOD)
    broken[len(broken) // 2 : len(broken) // 2 + 400] = b"\xff\xd9" * 200
    yield "a jpeg that ends in its middle", bytes(broken)


def part(
    content: bytes, name: str = "file", filename: str | None = "x.jpg", kind: str = "image/jpeg"
) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    disposition = f'Content-Disposition: form-data; name="{name}"{named}'
    head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n"
    return head.encode("utf-8", "surrogateescape") + content + b"\r\n"


def form(*parts: bytes) -> tuple[bytes, str]:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


def field(name: str, word: str) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{word}\r\n'
    return head.encode("utf-8", "surrogateescape")


def bodies() -> Iterator[tuple[str, bytes, str]]:
    """Requests that are wrong around the file."""
    for name, word in {
        "age in words": ("age", "old"), "age of 400": ("age", "400"), "age below 0": ("age", "-1"),
        "age nan-ish": ("age", "1e999"), "huge age": ("age", "9" * 60), "longest age": ("age", "9" * 4000),
        "too long a field": ("age", "9" * 500_000), "sex in another word": ("sex", "x"),
        "sex as script": ("sex", "<script>alert(1)</script>"), "site unheard of": ("site", "knee of a bee"),
        "site as path": ("site", "../../etc/passwd"), "site with nul": ("site", "back\0"),
        "site as sql": ("site", "' or 1=1 --"), "unknown field": ("name", "Jane"),
        "prototype": ("__proto__", "x"), "age as Python writes it": ("age", "1_0"),
        "age in Arabic digits": ("age", "\u0663\u0664"), "site over two lines": ("site", "back\nhand"),
        "sex with a bell": ("sex", "male\a"),
    }.items():  # fmt: skip
        yield name, *form(part(GOOD), field(*word))
    yield "age twice", *form(part(GOOD), field("age", "5"), field("age", "6"))
    yield "no file", *form(field("age", "5"))
    yield "file without a file name", *form(field("file", "abc"))
    yield "a file of another name", *form(part(GOOD, name="picture"))
    yield "many files", *form(*[part(b"x")] * 40)
    yield "many fields", *form(part(GOOD), *[field("age", "5")] * 100)
    yield "no end", part(GOOD)[:-20], f"multipart/form-data; boundary={BOUNDARY}"
    yield "no boundary", form(part(GOOD))[0], "multipart/form-data"
    yield "another boundary", form(part(GOOD))[0], "multipart/form-data; boundary=other"
    yield "empty form", b"", f"multipart/form-data; boundary={BOUNDARY}"
    yield "a header without end", f"--{BOUNDARY}\r\nContent-Disp".encode() + b"a" * 70_000, form()[1]
    yield "raw image", GOOD, "image/jpeg"
    yield "no type", GOOD, ""
    yield "url-encoded", b"file=abc&age=5", "application/x-www-form-urlencoded"
    yield "xml", b"<a/>", "application/xml"
    image = base64.b64encode(GOOD).decode()
    for name, output in {
        "a list": [], "a number": 7, "null": None, "empty": {}, "no images": {"age": 5},
        "images as text": {"images": image}, "an image as number": {"images": [7]},
        "none at all": {"images": []},
        "no base64": {"images": ["@@@"]}, "a data url": {"images": ["data:image/jpeg;base64," + image]},
        "an address": {"images": ["http://localhost/x.jpg"]}, "a path": {"images": ["/etc/passwd"]},
        "age as list": {"images": [image], "age": [5]}, "age as true": {"images": [image], "age": True},
        "unknown key": {"images": [image], "patient": "Jane"}, "empty image": {"images": [""]},
        "too many": {"images": [image] * 17},
    }.items():  # fmt: skip
        yield f"json: {name}", json.dumps(output).encode(), "application/json"
    yield "json: damaged", b'{"images": [', "application/json"
    yield "json: deep", b"[" * 100_000, "application/json"
    yield "json: not utf-8", b'{"images": ["\xff\xfe"]}', "application/json"
    for field_ in ("age", "sex", "site"):
        yield f"json: half a character in {field_}", surrogate(field_, image), "application/json"
    escaped = f"multipart/form-data; boundary={BOUNDARY}; charset=raw_unicode_escape"
    yield "half a character by a form's charset", form(part(GOOD), field("site", "\\ud800"))[0], escaped
    for word in ("NaN", "Infinity", "-Infinity"):
        output = f'{{"images": ["{image}"], "age": {word}}}'
        yield f"json: age is {word}", output.encode(), "application/json"
    yield "json: infinite age", b'{"images": ["aaaa"], "age": Infinity}', "application/json"


def surrogate(name: str, image: str) -> bytes:
    return f'{{"images": ["{image}"], "{name}": "\\ud800"}}'.encode()


NAMES = (
    "../../../../etc/passwd", "..\\..\\windows\\win.ini", "/dev/zero", "con", "a\0b.jpg", "x.php;.jpg",
    "🙂" * 300,
    "<script>.jpg", "${jndi:ldap://x}", "|id", "-rf", "'; drop table", "%2e%2e%2f", "\u202egpj.exe",
    "x" * 5000, "",
)  # fmt: skip
BAD_FILES, BAD_BODIES = list(files()), list(bodies())


def is_one_sentence(text: str) -> bool:
    return 10 < len(text) < 400 and "\n" not in text and "Traceback" not in text


def test_there_are_a_hundred():
    assert len(BAD_FILES) + len(BAD_BODIES) + len(NAMES) >= 100
    assert len({name for name, *_ in [*BAD_FILES, *BAD_BODIES]}) == len(BAD_FILES) + len(BAD_BODIES)


@pytest.mark.parametrize(
    "content", [content for _, content in BAD_FILES], ids=[name for name, _ in BAD_FILES]
)
def test_a_bad_file_is_refused_in_one_sentence(client, content):
    for address in ("/v1/predict", "/v1/explain"):
        response = client.post(address, files={"file": ("x.jpg", content, "image/jpeg")})
        assert 400 <= response.status_code < 500
        assert is_one_sentence(response.json()["detail"])
    assert client.get("/ready").status_code == 200


@pytest.mark.parametrize(
    ("content", "kind"), [one[1:] for one in BAD_BODIES], ids=[name for name, *_ in BAD_BODIES]
)
def test_a_bad_request_is_refused_in_one_sentence(client, content, kind):
    response = client.post("/v1/predict", content=content, headers={"Content-Type": kind})
    assert 400 <= response.status_code < 500
    assert is_one_sentence(response.json()["detail"])
    assert client.get("/ready").status_code == 200


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_file_s_name_means_nothing(client, name):
    """Whatever it says, its bytes alone are read; a name that a form cannot hold is refused."""
    content, kind = form(part(GOOD, filename=name.replace('"', "")))
    response = client.post("/v1/predict", content=content, headers={"Content-Type": kind})
    if response.status_code == 200:
        assert response.json()["answers"][0]["diagnosis"] == "nv"
        assert name[:20] not in response.text or not name
    else:
        assert 400 <= response.status_code < 500
        assert is_one_sentence(response.json()["detail"])


def test_after_all_that_it_answers_as_before(client, shipped):
    (expected,) = shipped.predict(GOOD)
    output = client.post("/v1/predict", files={"file": ("x.jpg", GOOD, "image/jpeg")}).json()
    assert output["answers"][0]["p"] == expected.p
