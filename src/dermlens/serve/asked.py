"""A request's images and patient: multipart or JSON, in memory alone.

File names and everything else that a client says of a file are left unread: what a file is, its bytes tell.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from dermlens.deploy.requests import Patient, one_patient
from dermlens.errors import UserError
from dermlens.serve.config import ServeConfig
from dermlens.serve.problems import Problem

FIELDS = ("age", "sex", "site")
LONGEST = 64
"""Characters of a word for age, sex or site."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client wants to know.

    Attributes:
        images: bytes of files.
        patient: of all of them.
    """

    images: tuple[bytes, ...]
    patient: Patient


class _InMemory(MultiPartParser):
    """Starlette's parser, whose files never go to the disk: the body is in memory and limited already."""

    spool_max_size = 2**31

    def unended(self) -> list[IO[bytes]]:
        """Its files, those of a form that was cut short among them, which it forgets."""
        return list(self._files_to_close_on_error)


async def read_request(request: Request, config: ServeConfig) -> Asked:
    """Read a request.

    Raises:
        Problem: 400 not what its type says; 413 too many images; 415 another type; 422 no image, an unknown
            field, or a patient that is not understood.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        images, words = await _multipart(request, config)
    elif kind == "application/json":
        images, words = await _json(request)
    else:
        raise Problem(415, "send images as multipart/form-data, or as application/json in base64")
    if not images:
        raise Problem(422, "the request has no image: send one or several as `file`")
    if len(images) > config.most_images:
        raise Problem(413, f"{len(images)} images; a request has at most {config.most_images}")
    for name, word in words.items():
        if len(word) > LONGEST:
            raise Problem(422, f"{name} has {len(word)} characters; {LONGEST} are enough")
        if not word.isprintable():
            raise Problem(422, f"{name} has characters that cannot be printed")
    try:
        patient = one_patient(words.get("age"), words.get("sex"), words.get("site"))
    except UserError as error:
        raise Problem(422, str(error).replace("--", "")) from error
    return Asked(tuple(images), patient)


async def _multipart(request: Request, config: ServeConfig) -> tuple[list[bytes], dict[str, str]]:
    parser = _InMemory(
        request.headers,
        request.stream(),
        max_files=config.most_images + 1,
        max_fields=16,
        max_part_size=4096,
    )
    try:
        return await _read_form(await parser.parse())
    except Problem:
        raise
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise Problem(413, f"a request has at most {config.most_images} images") from error
        raise Problem(400, f"the form cannot be read: {error.message.rstrip('.')}") from error
    except Exception as error:  # its parser raises several kinds on damaged forms
        raise Problem(400, "the form cannot be read: it is damaged") from error
    finally:
        for file in parser.unended():
            file.close()


async def _read_form(form: FormData) -> tuple[list[bytes], dict[str, str]]:
    images: list[bytes] = []
    words: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "file":
                raise Problem(422, "images come as `file`; the form has a file of another name")
            images.append(await value.read())
            await value.close()
        elif name not in FIELDS:
            known = ", ".join(("file", *FIELDS))
            raise Problem(
                422, f"the form has a field that is none of {known}, or a `file` without a file name"
            )
        elif name in words:
            raise Problem(422, f"{name} stands in the form twice")
        else:
            words[name] = value.strip()
    return images, words


async def _json(request: Request) -> tuple[list[bytes], dict[str, str]]:
    body = bytearray()
    async for part in request.stream():
        body += part
    try:
        text = body.decode()
        body.clear()
        content = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "the request is not JSON") from error
    del text  # as large as the body: the images come next
    if not isinstance(content, dict):
        raise Problem(422, "the JSON is no object with `images`")
    if further := set(content) - {"images", *FIELDS}:
        raise Problem(422, f"the JSON has {len(further)} keys that are none of images, {', '.join(FIELDS)}")
    images = content.get("images")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Problem(422, "`images` is a list of files in base64")
    images.reverse()
    return [_decoded(images.pop()) for _ in range(len(images))], _words(content)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, "an image is not in base64") from error


def _words(content: Mapping[str, Any]) -> dict[str, str]:
    words = {}
    for name in FIELDS:
        value = content.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise Problem(422, f"{name} is a word or a number")
        words[name] = str(value).strip()
    return words
