"""Processes that decode pictures for this one, behind limits of memory and time."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from dermlens.errors import UserError
from dermlens.predict.picture import Needs, Picture
from dermlens.predict.pictures.images import ImageError

# The process that decodes pictures for another one: a loop of tasks, behind the kernel's limits.
#
# A file that makes a decoder take too much memory, hang or crash ends this process and nothing else. Messages
# are JSON and plain bytes, so that what a hostile file might make of this process runs nothing in the other.
#
# Frames: the lengths of a JSON object and of the bytes behind it (two big-endian uint32), then both.


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


def picture_message(needs: Needs, source: bytes, max_pixels: int) -> Message:
    """What a model needs of a picture, as `Picture.from_message` reads it, or why there is none."""
    return _message_of("the image", lambda: Picture(source, max_pixels=max_pixels).settle(needs))


def file_handler(look: Callable[[Path, dict[str, Any]], Message]) -> Handler:
    """A handler for `Worker.ask_file`.

    Args:
        look: makes the message from the path and the header of the task.
    """

    def handler(header: dict[str, Any], blob: bytes) -> Iterator[Message]:
        del blob
        path = Path(os.fsdecode(bytes.fromhex(header["path"])))
        yield _message_of(str(path), lambda: look(path, header))

    return handler


def _message_of(name: str, make: Callable[[], Message]) -> Message:
    """A message, or the sentence that says why the picture cannot be read."""
    try:
        return make()
    except ImageError as error:
        return {"error": str(error)}, b""
    except UserError as error:  # an extra that reads such files is not installed
        return {"error": f"{name}: {error}"}, b""


def run(handlers: Callable[[Needs], dict[str, Handler]]) -> None:
    """Work off the tasks on standard input until the other process closes it.

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
    """Let the kernel end this process after so many seconds of CPU time, or longer by the clock; 0 for never.

    The signals have no handlers, so no code of this process has to run for them.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, 2 * PATIENCE * seconds)


def _limit(memory: int) -> None:
    """From here on this process cannot allocate more bytes than these, write a file, or dump its memory."""
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
    return {"picture": file_handler(lambda path, _: Picture(path).settle(needs))}


def prepare() -> None:
    """Import now what is otherwise imported at its first use, and would then count as memory of a picture."""
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


# A process pool of another library did not fit: those start their processes by importing the caller's script
# anew or by forking a process with threads, and none limits memory or lets small tasks pass large ones.


PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {} import main; main()"
DECODER = "dermlens.predict.decoding"
START_SECONDS = 60.0
"""For a process to begin, on a machine with much else to do."""
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    # constant: memory of a picture goes back to the system with it
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "262144",
}
PICTURE_SECONDS, PICTURE_MEMORY = 60.0, 1536 * 2**20
"""A picture of a folder; the largest that are decoded at all take 0.5 GB and some seconds."""

TIME_IS_OVER = getattr(signal, "SIGPROF", 0)
"""The signal that ends a process after its seconds of a core."""
Ended = Literal["done", "late", "memory", "died"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a task.

    Attributes:
        messages: of its handler, as far as it came.
        ended: `done`; `late` when its time was over, `memory` when it took too much, `died` when it crashed.
    """

    messages: list[Message]
    ended: Ended


class Worker:
    """A process, begun at once and again after each end; one task at a time.

    Args:
        needs: of the model.
        memory: bytes that a task may allocate.
        program: the module whose `main` it runs.
    """

    def __init__(self, needs: Needs, memory: int, program: str = DECODER) -> None:
        self._setup = {"needs": needs.to_json(), "memory": memory}
        self._command = [sys.executable, "-c", PROGRAM.format(program), json.dumps(sys.path)]
        self._process = self._begin()
        self._ready = self._closed = False

    def _begin(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
        )

    @property
    def pid(self) -> int:
        """Of the process that there is now."""
        return self._process.pid

    def wait(self) -> None:
        """Return once it takes tasks. Raises: RuntimeError when it does not begin."""
        if self._ready or self._closed:
            return
        for _ in range(2):
            with self._clock(START_SECONDS), contextlib.suppress(OSError):
                send(self._to, self._setup)
                if receive(self._from) is not None:
                    self._ready = True
                    return
            self._replace()
        raise RuntimeError("the process that decodes pictures does not begin")

    def ask(
        self,
        header: dict[str, Any],
        blob: bytes | bytearray | memoryview = b"",
        seconds: float = PICTURE_SECONDS,
    ) -> Reply:
        """Have a task done.

        Args:
            header: `task` and what its handler takes.
            blob: bytes for the handler.
            seconds: of a core that it may take, and `PATIENCE` times as many by the clock; then the process
                is ended, and another one begins.

        Raises:
            RuntimeError: no process begins.
        """
        self.wait()
        messages: list[Message] = []
        ended: Ended = "died"
        with self._clock(PATIENCE * seconds) as clock, contextlib.suppress(OSError):
            send(self._to, header | {"seconds": seconds}, blob)
            while (message := receive(self._from)) is not None:
                if not message[0] or "leaving" in message[0]:
                    ended = message[0].get("leaving", "done")
                    break
                messages.append(message)
        if ended == "died" and (clock.is_set() or self._process.wait() == -TIME_IS_OVER):
            ended = "late"
        if clock.is_set() or ended != "done":
            self._replace()
        return Reply(messages, ended)

    def ask_file(self, task: str, path: Path, **header: Any) -> Message | str:
        """What a `file_handler` makes of a file, or the sentence that says why it cannot be read."""
        reply = self.ask({"task": task, "path": os.fsencode(path).hex(), **header})
        if reply.ended != "done":
            return f"{path}: {why(reply.ended, PICTURE_SECONDS)}"
        content, blob = reply.messages[0]
        return str(content["error"]) if "error" in content else (content, blob)

    def picture(self, path: Path, image_id: str) -> Picture | str:
        """What the model needs of a file, or the sentence that says why there is none."""
        found = self.ask_file("picture", path)
        return found if isinstance(found, str) else Picture.from_message(*found, image_id)

    def close(self) -> None:
        """End it for good."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()

    def _replace(self) -> None:
        self._end()
        self._ready = False
        if not self._closed:
            self._process = self._begin()

    @contextlib.contextmanager
    def _clock(self, seconds: float) -> Iterator[threading.Event]:
        """An event that is set when the time is over, and the process ended with it."""
        rung, over = threading.Event(), threading.Event()
        one_at_a_time, process = threading.Lock(), self._process

        def ring() -> None:
            with one_at_a_time:
                if not over.is_set():
                    rung.set()
                    process.kill()

        timer = threading.Timer(seconds, ring)
        timer.daemon = True
        timer.start()
        try:
            yield rung
        finally:
            timer.cancel()
            with one_at_a_time:
                over.set()

    @property
    def _to(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdin)

    @property
    def _from(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdout)


def why(ended: Ended, seconds: float) -> str:
    """Why a picture was given up, as the end of a sentence."""
    return {
        "late": f"it cannot be read: decoding takes longer than {seconds:g} s",
        "memory": "it cannot be read: decoding takes more memory than a picture may",
    }.get(ended, "it cannot be read: it makes the decoder crash")


def read(message: Message) -> Picture | str:
    """The picture of a `picture_message`, or its sentence."""
    content, squares = message
    return content["error"] if "error" in content else Picture.from_message(content, squares, "")


@dataclass(order=True, slots=True)
class _Task:
    size: int
    number: int
    header: dict[str, Any] = field(compare=False)
    blob: bytes | bytearray | memoryview = field(compare=False)
    seconds: float = field(compare=False)
    reply: Future[Reply] = field(compare=False)


Lane = Literal["quick", "large"]


class Pool:
    """Workers with a thread each; small tasks first, and one worker for small ones alone.

    Args:
        workers: by the lanes that they serve, the first one first.

    Attributes:
        failing: whether the last process that was needed did not begin.
    """

    def __init__(self, workers: Sequence[tuple[Worker, Sequence[Lane]]]) -> None:
        self._waiting: dict[Lane, list[_Task]] = {"quick": [], "large": []}
        self.failing = False
        self._changed, self._ended, self._count = threading.Condition(), False, itertools.count()
        self._workers = [worker for worker, _ in workers]
        self._threads = [
            threading.Thread(target=self._work, args=entry, name="decode", daemon=True) for entry in workers
        ]

    def start(self) -> None:
        """Begin; returns once all workers take tasks. Raises: RuntimeError when one does not."""
        for worker in self._workers:
            worker.wait()
        for thread in self._threads:
            thread.start()

    def submit(
        self, lane: Lane, header: dict[str, Any], blob: bytes | bytearray | memoryview, seconds: float
    ) -> Future[Reply]:
        """Have a task done in its turn, the smallest of its lane first; a cancelled one is left out."""
        task = _Task(len(blob), next(self._count), header, blob, seconds, Future())
        with self._changed:
            heapq.heappush(self._waiting[lane], task)
            self._changed.notify_all()
        return task.reply

    def stop(self) -> None:
        """End; what waits is cancelled."""
        with self._changed:
            self._ended = True
            for task in itertools.chain(*self._waiting.values()):
                task.reply.cancel()
            self._changed.notify_all()
        for worker in self._workers:
            worker.close()

    def _work(self, worker: Worker, lanes: Sequence[Lane]) -> None:
        while (task := self._next(lanes)) is not None:
            if not task.reply.set_running_or_notify_cancel():
                continue
            try:
                reply = worker.ask(task.header, task.blob, task.seconds)
                self.failing = False
                task.reply.set_result(reply)
            except Exception as error:  # whoever asked gets it, and the thread goes on
                self.failing = True
                task.reply.set_exception(error)
            del task

    def _next(self, lanes: Sequence[Lane]) -> _Task | None:
        with self._changed:
            while not self._ended:
                for lane in lanes:
                    if self._waiting[lane]:
                        return heapq.heappop(self._waiting[lane])
                self._changed.wait()
        return None
