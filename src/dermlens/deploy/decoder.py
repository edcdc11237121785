"""The process that decodes pictures for another one: a loop of tasks, behind the kernel's limits.

A file that makes a decoder take too much memory, hang or crash ends this process and nothing else. Messages
are JSON and plain bytes, so that what a hostile file might make of this process runs nothing in the other.

Frames: the lengths of a JSON object and of the bytes behind it (two big-endian uint32), then both.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dermlens.data.images import ImageError
from dermlens.deploy.pictures import Needs, Picture
from dermlens.errors import UserError

LENGTHS = struct.Struct(">II")
Message = tuple[dict[str, Any], bytes]
Handler = Callable[[dict[str, Any], bytes], Iterator[Message]]
PATIENCE = 3
"""A task may take its seconds of a core, and so many times as long on a machine that does much else."""


def send(pipe: BinaryIO, header: dict[str, Any], blob: bytes | bytearray | memoryview = b"") -> None:
    """Write a frame. Raises: OSError when the other side is gone."""
    text = json.dumps(header).encode()
    pipe.write(LENGTHS.pack(len(text), len(blob)) + text)
    pipe.write(blob)
    pipe.flush()


def receive(pipe: BinaryIO) -> Message | None:
    """Read a frame; none when the other side is gone."""
    lengths = pipe.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    text, size = LENGTHS.unpack(lengths)
    header, blob = pipe.read(text), pipe.read(size)
    if len(header) < text or len(blob) < size:
        return None
    return json.loads(header), blob


def picture_message(needs: Needs, source: Path | bytes, max_pixels: int | None) -> Message:
    """What a model needs of a picture, as `Picture.from_message` reads it, or why there is none."""
    try:
        picture = Picture(source, max_pixels=max_pixels)
        return picture.settled(needs)
    except ImageError as error:
        return {"error": str(error)}, b""
    except UserError as error:  # an extra that reads such files is not installed
        return {"error": f"{source if isinstance(source, Path) else 'the image'}: {error}"}, b""


def run(handlers: Callable[[Needs], dict[str, Handler]]) -> None:
    """Do what comes, task after task, until whoever asks is gone.

    The first frame says `needs`, what a model needs of a picture, and `memory`, how many bytes may be
    allocated beyond what this process has then. Each further one has `task`, a name, and `seconds`. A task is
    answered by the messages that its handler yields and an empty one.

    Args:
        handlers: by name, for such needs.
    """
    # Ctrl-C in a terminal reaches every process; whoever asks ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # what libraries print must not get between the answers
    begin = receive(tasks)
    if begin is None:
        return
    known = handlers(Needs.from_json(begin[0]["needs"]))
    _limit(begin[0]["memory"])
    with contextlib.suppress(BrokenPipeError):
        send(answers, {"ready": True})
        while (asked := receive(tasks)) is not None:
            header, blob = asked
            _end_by_itself(header["seconds"])
            del asked
            try:
                for message in known[header.pop("task")](header, blob):
                    send(answers, *message)
            except MemoryError:
                send(answers, {"leaving": "memory"})
                return
            del blob
            _end_by_itself(0)
            send(answers, {})


def _end_by_itself(seconds: float) -> None:
    """Be ended by the kernel after so many seconds of a core, or of waiting for nobody; 0 for never.

    Their signals are not handled: no code of this process has to run for them.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, 2 * PATIENCE * seconds)


def _limit(memory: int) -> None:
    """Behind this nothing allocates more, writes a file, or leaves its memory on the disk."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _pictures(needs: Needs) -> dict[str, Handler]:
    def picture(header: dict[str, Any], blob: bytes) -> Iterator[Message]:
        path = header.get("path")
        yield picture_message(needs, blob if path is None else Path(os.fsdecode(bytes.fromhex(path))), None)

    return {"picture": picture}


def prepare() -> None:
    """Load what is loaded at its first use elsewhere: it would count as the memory of a picture."""
    from PIL import BmpImagePlugin, ImageCms, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin

    del BmpImagePlugin, ImageCms, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin
    # pydicom takes `requests` for fetching samples where it is installed, which opens a socket on import.
    sys.modules.setdefault("requests", None)  # type: ignore[arg-type]
    with contextlib.suppress(ImportError):
        import pydicom.encaps
        import pydicom.filereader
        import pydicom.pixels  # noqa: F401
    np.ones((2, 2), np.float32) @ np.ones((2, 2), np.float32)


def main() -> None:
    """Decode files by their paths."""
    prepare()
    run(_pictures)
