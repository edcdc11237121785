"""Processes that decode: ended by time, memory and crashes, replaced, and small tasks before large ones."""

from __future__ import annotations

import io
import threading
import time

import hostile
import numpy as np
import psutil
import pytest
from PIL import Image

from dermlens.predict.answers import Answer
from dermlens.predict.decoding import Pool, Worker
from dermlens.predict.picture import Needs, Picture
from dermlens.predict.predictor import Predictor

NEEDS = Needs((48, 32), "center", "none")
PROGRAM = """
import os, sys, time
from dermlens.predict.decoding import run

def handlers(needs):
    def echo(header, blob):
        yield {"n": header["n"]}, blob
    def work(header, blob):
        yield {"begun": True}, b""
        while True:
            pass
    def wait(header, blob):
        while not os.path.exists(header["for"]):
            time.sleep(0.01)
        yield {"n": header["n"]}, b""
    def fill(header, blob):
        yield {"begun": True}, b""
        bytearray(header["bytes"])
        yield {"filled": True}, b""
    def crash(header, blob):
        yield {"begun": True}, b""
        os.abort()
    def write(header, blob):
        print("words that a library prints")
        try:
            with open(header["file"], "w") as file:
                file.write("x")
        except OSError:
            yield {"refused": True}, b""
    return locals()

def main():
    run(handlers)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    return "program"


@pytest.fixture
def worker(program):
    found = Worker(NEEDS, 64 * 2**20, program)
    yield found
    found.close()


def echoes(worker: Worker) -> bool:
    reply = worker.ask({"task": "echo", "n": 7}, b"x" * 300_000)
    return (reply.ended, reply.messages) == ("done", [({"n": 7}, b"x" * 300_000)])


@pytest.mark.parametrize(
    ("task", "ended"),
    [
        ({"task": "work"}, "late"),
        ({"task": "wait", "for": "/never", "n": 1}, "late"),
        ({"task": "fill", "bytes": 2**30}, "memory"),
        ({"task": "crash"}, "died"),
    ],
    ids=lambda one: one if isinstance(one, str) else one["task"],
)
def test_what_passes_a_limit_is_ended_and_replaced(worker, task, ended):
    assert echoes(worker)
    before = worker.pid
    reply = worker.ask(task, seconds=0.5)
    assert (reply.ended, len(reply.messages)) == (ended, task["task"] != "wait")
    assert echoes(worker)
    assert worker.pid != before
    assert not psutil.pid_exists(before)


def test_within_its_memory_nothing_is_ended(worker):
    assert worker.ask({"task": "fill", "bytes": 2**20}).ended == "done"


def test_it_writes_no_file_and_what_is_printed_gets_into_no_answer(worker, tmp_path):
    reply = worker.ask({"task": "write", "file": str(tmp_path / "x")})
    assert (reply.ended, reply.messages) == ("done", [({"refused": True}, b"")])


def test_it_ends_with_the_process_that_asked(worker):
    worker.wait()
    worker._to.close()
    psutil.Process(worker.pid).wait(120)


def test_a_picture_is_the_one_of_this_process(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(noise).save(path)
    worker = Worker(NEEDS, 64 * 2**20)
    try:
        found = worker.picture(path, "a")
        assert isinstance(found, Picture)
        here = Picture(path)
        assert (found.image_id, found.faults()) == ("a", here.faults())
        for size in NEEDS.sizes:
            np.testing.assert_array_equal(
                found.square(size, "center", "none"), here.square(size, "center", "none")
            )
        assert str(tmp_path / "none.png") in worker.picture(tmp_path / "none.png", "none")
    finally:
        worker.close()


def test_small_tasks_go_first_and_large_ones_leave_a_worker_to_them(program, tmp_path):
    workers = [Worker(NEEDS, 64 * 2**20, program) for _ in range(2)]
    pool = Pool([(workers[0], ("quick",)), (workers[1], ("large", "quick"))])
    order: list[int] = []

    def waiting_for(lane, name, n):
        return pool.submit(lane, {"task": "wait", "for": str(tmp_path / name), "n": n}, b"", 300)

    try:
        pool.start()
        large = [waiting_for("large", "later", n) for n in range(2)]
        while len(pool._waiting["large"]) > 1:
            time.sleep(0.01)
        first = waiting_for("quick", "soon", 0)
        while pool._waiting["quick"]:  # it is being done
            time.sleep(0.01)
        for size in (3000, 1, 200):
            task = pool.submit("quick", {"task": "echo", "n": size}, bytes(size), 30)
            task.add_done_callback(lambda reply: order.append(reply.result().messages[0][0]["n"]))
        cancelled = pool.submit("large", {"task": "echo", "n": 1}, b"", 30)
        assert cancelled.cancel()
        (tmp_path / "soon").touch()
        assert first.result(300).ended == "done"
        while len(order) < 3:
            time.sleep(0.01)
        assert order == [1, 200, 3000]
        assert not any(one.done() for one in large)
        (tmp_path / "later").touch()
        assert [one.result(300).ended for one in large] == ["done", "done"]
    finally:
        pool.stop()
    assert not any(psutil.pid_exists(one.pid) for one in workers)


def test_a_folder_with_files_that_end_the_decoder_is_answered(tmp_path, monkeypatch):
    """One good picture among all that is hostile, and among some that really take too much memory."""
    for number, content in enumerate(hostile.SMALL_FILES.values()):
        (tmp_path / f"h{number}.{'dcm' if content[128:132] == b'DICM' else 'png'}").write_bytes(content)
    stream = io.BytesIO()
    Image.new("RGB", (5000, 5000), (200, 150, 140)).save(stream, "PNG", compress_level=1)
    (tmp_path / "large.png").write_bytes(stream.getvalue())
    Image.effect_noise((300, 300), 60).convert("RGB").save(tmp_path / "good.png")
    monkeypatch.setattr("dermlens.predict.predictor.PICTURE_MEMORY", 64 * 2**20)
    found = dict(Predictor.open().predict_folder(tmp_path))
    assert isinstance(found.pop("good"), Answer)
    assert "more memory" in found.pop("large")
    assert len(found) == len(hostile.SMALL_FILES)
    assert all(isinstance(one, str) and str(tmp_path) in one for one in found.values())


def test_an_abandoned_stream_leaves_no_process(tmp_path):
    before = {one.pid for one in psutil.Process().children()}
    for number in range(6):
        Image.new("RGB", (80, 80), (200, 150, number)).save(tmp_path / f"{number}.png")
    stream = Predictor.open().predict_folder(tmp_path)
    next(stream)
    del stream
    assert {one.pid for one in psutil.Process().children()} <= before
    assert threading.active_count() < 50
