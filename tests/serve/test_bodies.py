"""Bodies on their way into memory, and taken apart: with a budget, and nothing held twice."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from functools import partial

import hostile
import pytest
from starlette.requests import Request
from steps import lines_run

from dermlens.serve.bodies import CHUNKED, HELD, Bodies, read_body
from dermlens.serve.limits import Problem, ServeConfig

IMAGE = bytes(range(256)) * 8192
JSON = json.dumps({"images": [base64.b64encode(IMAGE).decode()]}).encode()


def arriving(body: bytes, piece: int, headers: dict[str, str]) -> Request:
    begins = iter(range(0, len(body), piece))

    async def receive():
        begin = next(begins)
        more = begin + piece < len(body)
        return {"type": "http.request", "body": body[begin : begin + piece], "more_body": more}

    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": given}, receive)


@pytest.mark.parametrize("piece", [7, 2**16])
def test_a_body_is_held_once(piece):
    """However small its pieces: each would be an object of its own."""
    body = IMAGE[: 200_000 if piece < 10 else None]

    async def ask():
        bodies = Bodies(ServeConfig())
        async with bodies.body(arriving(body, piece, {"content-length": str(len(body))})) as found:
            assert found == body
            return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        assert asyncio.run(ask()) < 1.5 * len(body) + 100_000
    finally:
        tracemalloc.stop()


def test_all_bodies_together_are_limited_and_let_go_of():
    config = ServeConfig(max_bytes=1000)  # all of them small ones

    async def ask():
        bodies = Bodies(config)
        held = [bodies.body(arriving(bytes(1000), 100, {"content-length": "1000"})) for _ in range(HELD)]
        for one in held:
            await one.__aenter__()
        with pytest.raises(Problem) as caught:
            async with bodies.body(arriving(bytes(10), 5, {"content-length": "10"})):
                pass
        assert caught.value.status == 503
        for one in held:
            await one.__aexit__(None, None, None)
        async with bodies.body(arriving(bytes(10), 5, {"content-length": "10"})) as found:
            assert found == bytes(10)

    asyncio.run(ask())


def test_large_bodies_that_stop_coming_leave_room_for_a_small_one_and_are_given_up(monkeypatch):
    """Nobody has to wait for the whole time that a request may take."""
    monkeypatch.setattr("dermlens.serve.bodies.STALLED", 0.2)
    config = ServeConfig(max_bytes=8 * 2**20, seconds=600)

    async def ask():
        bodies, size = Bodies(config), str(config.max_bytes)

        def stalling() -> Request:
            parts = iter([{"type": "http.request", "body": bytes(config.max_bytes - 1), "more_body": True}])

            async def receive():
                for part in parts:
                    return part
                await asyncio.Event().wait()

            return Request({"type": "http", "headers": [(b"content-length", size.encode())]}, receive)

        async def take() -> int:
            with pytest.raises(Problem) as caught:
                async with bodies.body(stalling()):
                    pass
            return caught.value.status

        tasks = [asyncio.create_task(take()) for _ in range(HELD)]
        await asyncio.sleep(0)
        async with bodies.body(arriving(bytes(10), 5, {"content-length": "10"})) as found:
            assert found == bytes(10)
        assert await asyncio.gather(*tasks) == [408] * HELD

    asyncio.run(ask())


def test_few_bodies_arrive_at_once_without_saying_how_long_they_are():
    async def ask():
        bodies, gate = Bodies(ServeConfig()), asyncio.Event()

        async def receive():
            await gate.wait()
            return {"type": "http.request", "body": b"x", "more_body": False}

        async def take() -> int:
            try:
                async with bodies.body(Request({"type": "http", "headers": []}, receive)):
                    return 200
            except Problem as problem:
                return problem.status

        tasks = [asyncio.create_task(take()) for _ in range(CHUNKED + 3)]
        await asyncio.sleep(0.01)
        assert [task.result() for task in tasks if task.done()] == [503] * 3
        gate.set()
        assert sorted(await asyncio.gather(*tasks)) == [200] * CHUNKED + [503] * 3
        assert await take() == 200

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("body", "kind"), [hostile.form(IMAGE, b"abc"), (JSON, hostile.JSON)], ids=["form", "json"]
)
def test_images_come_out_as_they_went_in(body, kind):
    assert bytes(read_body(body, kind, 16).images[0]) == IMAGE


@pytest.mark.parametrize("name", hostile.SMALL_BODIES)
def test_a_body_of_many_parts_is_refused_before_they_are_made(name):
    body, kind = hostile.SMALL_BODIES[name]
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as caught:
            read_body(body, kind, 16)
        assert 400 <= caught.value.status < 500
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body) + 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "make", [hostile.json_lists, hostile.json_objects, hostile.json_keys, hostile.json_strings]
)
def test_the_work_for_json_does_not_grow_with_its_parts(make, monkeypatch):
    """It is refused before a parser sees it, in as many steps whatever its length."""
    monkeypatch.setattr(json, "loads", lambda *given, **named: pytest.fail("it was parsed"))
    bodies = [make(size) for size in (10_000, 3_000_000)]
    for body, kind in bodies:
        with pytest.raises(Problem):
            read_body(body, kind, 16)
    short, long = (lines_run(partial(read_body, *body, 16)) for body in bodies)
    assert short == long


@pytest.mark.parametrize(
    "text",
    [
        b'{"images": ["YQ=="], "age": 5, "age": 6}',
        b'{"images": ["YQ=="], "images": ["Yg=="]}',
        b'{"images": ["YQ=="], "age": 5, "\\u0061ge": 6}',
        b'{"images": ["YQ=="], "sex": {"a": 1, "a": 2}}',
    ],
)
def test_a_key_that_stands_twice_is_refused(text):
    with pytest.raises(Problem) as caught:
        read_body(text, hostile.JSON, 16)
    assert (caught.value.status, "twice" in caught.value.sentence) == (422, True)


@pytest.mark.parametrize(
    "text",
    [b'{"images": ["YQ=="], "site": "a \\"quoted\\" \\u00e4"}', b' {"images" :["YQ=="],"site":"\xc3\xa4"}\n'],
)
def test_json_is_read_as_json_is_written(text):
    found = read_body(text, hostile.JSON, 16)
    assert (found.images, found.words["site"]) == ([b"a"], json.loads(text)["site"])
