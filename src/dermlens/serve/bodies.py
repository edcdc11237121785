"""A request's body and its pictures: taken apart in memory, within limits, by a process of its own."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from dermlens.errors import UserError
from dermlens.predict.decoding import Handler, Message, picture_message, prepare, run
from dermlens.predict.picture import Needs
from dermlens.predict.pictures.dicom import dicom_work
from dermlens.predict.pictures.images import MAX_PIXELS
from dermlens.predict.pictures.structure import check_structure
from dermlens.serve.limits import Problem, ServeConfig, busy

# Bodies on their way into memory: how large, how slow, how many at once.


HELD = 4
"""Largest bodies that all requests together may hold in memory; small ones may hold as much beside."""
SMALL = 4 * 2**20
"""Bytes of a body that says how long it is, up to which large ones that arrive slowly are not in its way."""
STALLED = 5.0
"""Seconds without a byte after which a body is given up."""
CHUNKED = 4
"""Bodies that may arrive at once without saying how long they are: each of their bytes may cost a hundred."""


class Bodies:
    """Counts the bodies of one service."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._held = {"small": 0, "large": 0}
        self._chunked = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """The whole body of a request; it counts as held until the block ends.

        Raises:
            Problem: 413 when it is too large, 408 when it takes too long or stops coming, 503 when all bodies
                are together too large, or too many of them do not say how long they are.
        """
        body, most = bytearray(), self._config.max_bytes
        length = request.headers.get("content-length", "")
        lane = "small" if length.isdigit() and int(length) <= SMALL else "large"
        clock = asyncio.get_running_loop().time
        moved = clock()
        end = moved + self._config.seconds
        try:
            with self._place(request):
                try:
                    async with asyncio.timeout_at(min(end, moved + STALLED)) as limit:
                        async for part in _arriving(request):
                            if clock() - moved > STALLED / 10:  # for each, old alarms would pile up
                                moved = clock()
                                limit.reschedule(min(end, moved + STALLED))
                            self._held[lane] += len(part)
                            body += part
                            if len(body) > most:
                                raise too_large(most)
                            if self._held[lane] > HELD * most:
                                raise busy()
                except TimeoutError:
                    raise Problem(408, "the request took too long to arrive") from None
            yield body
        finally:
            self._held[lane] -= len(body)

    @contextmanager
    def _place(self, request: Request) -> Iterator[None]:
        if "content-length" in request.headers:
            yield
            return
        if self._chunked >= CHUNKED:
            raise busy()
        self._chunked += 1
        try:
            yield
        finally:
            self._chunked -= 1


async def _arriving(request: Request) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the connection ended before the request did")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def too_large(most: int) -> Problem:
    """The body has more bytes than are taken."""
    return Problem(413, f"the request is larger than {most / 2**20:g} MB, the most that is taken")


# A request's body taken apart: multipart or JSON, in memory alone, with a budget for its parts.
#
# It runs in the process that decodes, as a body may be made to take long. File names and everything else that
# a client says of a file are left unread: what a file is, its bytes tell.


FIELDS = ("age", "sex", "site")
LONGEST = 64
"""Characters of a word for age, sex or site."""
MOST_FIELDS = 16
MOST_HEADER_BYTES = 16 * 1024
"""Of one part of a form."""
MOST_FIELD_BYTES = 4096
TOKENS_AROUND = 64
"""Brackets, commas, colons, words and numbers that a JSON may have around those of its images."""
TOKEN = re.compile(
    rb'[ \t\n\r]*+(?:[\[\]{},:]|"[^"\\]*+(?:\\.[^"\\]*+)*+"|[-+.\w]{1,64}+)', re.DOTALL | re.ASCII
)
"""Possessive throughout: it never goes back, whatever the text."""


@dataclass(slots=True)
class Content:
    """What a body holds.

    Attributes:
        images: bytes of files.
        words: age, sex and site as they were given.
    """

    images: list[bytes | bytearray] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)


def read_body(body: bytes, content_type: str, most_images: int) -> Content:
    """Take a body apart.

    Args:
        body: all of it.
        content_type: the header.
        most_images: that it may have.

    Raises:
        Problem: 400 not what its type says; 413 too many images or other parts; 422 no image, an unknown
            field or one that stands twice, or a word that nobody needs so long.
    """
    kind = content_type.partition(";")[0].strip().lower()
    content = (
        _form(body, content_type, most_images) if kind == "multipart/form-data" else _json(body, most_images)
    )
    if not content.images:
        raise Problem(422, "the request has no image: send one or several as `file`")
    if len(content.images) > most_images:
        raise Problem(413, f"{len(content.images)} images; a request has at most {most_images}")
    for name, word in content.words.items():
        if len(word) > LONGEST:
            raise Problem(422, f"{name} has {len(word)} characters; {LONGEST} are enough")
        if not word.isprintable():
            raise Problem(422, f"{name} has characters that cannot be printed")
    return content


class _Form:
    """What python-multipart calls while it reads; counts before it keeps."""

    def __init__(self, most_images: int) -> None:
        self.content, self.ended = Content(), False
        self._most, self._fields, self._head = most_images, 0, 0
        self._name, self._value, self._disposition = b"", b"", b""
        self._field: str | None = None
        self._data = bytearray()

    def on_part_begin(self) -> None:
        self._name = self._value = self._disposition = b""
        self._head, self._data = 0, bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += self._counted(data, start, end)

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data, start, end)

    def _counted(self, data: bytes, start: int, end: int) -> bytes:
        self._head += end - start
        if self._head > MOST_HEADER_BYTES:
            raise Problem(400, f"a part of the form has headers of more than {MOST_HEADER_BYTES} bytes")
        return data[start:end]

    def on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        if b"filename" in options:
            if name != "file":
                raise Problem(422, "images come as `file`; the form has a file of another name")
            if len(self.content.images) >= self._most + 1:
                raise Problem(413, f"a request has at most {self._most} images")
            self._field = None
            return
        self._fields += 1
        if self._fields > MOST_FIELDS:
            raise Problem(413, f"the form has more than {MOST_FIELDS} fields")
        if name not in FIELDS:
            known = ", ".join(("file", *FIELDS))
            raise Problem(
                422, f"the form has a field that is none of {known}, or a `file` without a file name"
            )
        if name in self.content.words:
            raise Problem(422, f"{name} stands in the form twice")
        self._field = name

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is not None and len(self._data) + end - start > MOST_FIELD_BYTES:
            raise Problem(413, f"{self._field} has more than {MOST_FIELD_BYTES} bytes; {LONGEST} are enough")
        self._data += memoryview(data)[start:end]

    def on_part_end(self) -> None:
        if self._field is None:
            self.content.images.append(self._data)
        else:
            try:
                self.content.words[self._field] = self._data.decode().strip()
            except UnicodeDecodeError as error:
                raise Problem(422, f"{self._field} is not in UTF-8") from error

    def on_end(self) -> None:
        self.ended = True


CALLBACKS = (
    "on_part_begin", "on_header_field", "on_header_value", "on_header_end", "on_headers_finished",
    "on_part_data", "on_part_end", "on_end",
)  # fmt: skip


def _form(body: bytes, content_type: str, most_images: int) -> Content:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise Problem(400, "the form cannot be read: its Content-Type names no boundary")
    form = _Form(most_images)
    try:
        callbacks: Any = {name: getattr(form, name) for name in CALLBACKS}
        parser = MultipartParser(boundary, callbacks)
        parser.write(body)
        parser.finalize()
    except Problem:
        raise
    except (FormParserError, ValueError, LookupError, AttributeError) as error:
        raise Problem(400, "the form cannot be read: it is damaged") from error
    if not form.ended:
        raise Problem(400, "the form cannot be read: it ends before its last boundary")
    return form.content


def _json(body: bytes, most_images: int) -> Content:
    _check_tokens(body, TOKENS_AROUND + 2 * most_images + 2)
    try:
        content = json.loads(body.decode(), parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "the request is not JSON") from error
    if not isinstance(content, dict):
        raise Problem(422, "the JSON is no object with `images`")
    if further := set(content) - {"images", *FIELDS}:
        raise Problem(422, f"the JSON has {len(further)} keys that are none of images, {', '.join(FIELDS)}")
    images = content.get("images")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Problem(422, "`images` is a list of files in base64")
    if len(images) > most_images:
        raise Problem(413, f"{len(images)} images; a request has at most {most_images}")
    images.reverse()
    return Content([_decoded(images.pop()) for _ in range(len(images))], _words(content))


def _check_tokens(body: bytes, most: int) -> None:
    """Refuse JSON with more in it than images and a patient, before anything is made of it."""
    at = 0
    for _ in range(most):
        if (token := TOKEN.match(body, at)) is None:
            break
        at = token.end()
    else:
        raise Problem(413, "the JSON has more in it than `images`, age, sex and site")
    if body[at:].strip(b" \t\n\r"):
        raise Problem(400, "the request is not JSON")


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Problem(422, "the JSON has a key that stands there twice")
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, "an image is not in base64") from error


def _words(content: dict[str, Any]) -> dict[str, str]:
    words = {}
    for name in FIELDS:
        value = content.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise Problem(422, f"{name} is a word or a number")
        words[name] = str(value).strip()
    return words


# The process that takes requests apart and decodes their pictures, in `dermlens.predict.decoding`'s loop.


QUICK_WORK = 12_000_000
"""Pixels, plain ones, up to which a picture goes before larger ones."""


def work(data: bytes) -> float:
    """About how many plain pixels a decoder will touch, by what the file announces."""
    if data[128:132] == b"DICM":
        try:
            return dicom_work(data)
        except UserError:  # the extra that reads it is not installed
            return 0
    try:
        return check_structure(data).work
    except ValueError:  # which costs nothing: it is refused
        return 0


def _bodies(needs: Needs) -> dict[str, Handler]:
    def body(header: dict[str, Any], blob: bytes) -> Iterator[Message]:
        """First how many images there are and what is known of the patient, then each, or that it is large.

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
