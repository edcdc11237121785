"""Queue, batches and time-outs, with a network whose pace the test sets; decoding in real processes."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from dermlens.predict.patients import Patient
from dermlens.serve.engine import Engine
from dermlens.serve.limits import Metrics, Problem, ServeConfig


class Slow:
    """Answers with the pictures it is given, as soon as the gate is open."""

    document = SimpleNamespace(
        size=192, views=SimpleNamespace(sizes=()), crop="center", colour_constancy="none"
    )

    def __init__(self) -> None:
        self.gate, self.entered, self.seen = threading.Event(), threading.Event(), []
        self.gate.set()

    def predict(self, image: np.ndarray) -> None:
        """The warm-up."""

    def answers(self, pictures, patients):
        self.entered.set()
        self.gate.wait(60)
        self.seen.append(list(pictures))
        if "bad" in pictures:
            raise RuntimeError("the network failed")
        return [(picture, patient.age) for picture, patient in zip(pictures, patients, strict=True)]


def run(test, **limits):
    """Run a coroutine on an engine, with the network that it asks."""

    async def living():
        network = Slow()
        engine = Engine(network, ServeConfig(**limits), Metrics("test"))
        engine.start()
        try:
            await test(engine, network)
        finally:
            network.gate.set()
            engine.stop()

    asyncio.run(living())


def test_an_idle_network_does_not_wait_and_a_busy_one_looks_at_several():
    async def test(engine, network):
        first = asyncio.create_task(engine.answer(["a"], [Patient()]))
        assert await first == [("a", None)]
        network.gate.clear()
        network.entered.clear()
        tasks = [asyncio.create_task(engine.answer([0], [Patient(age=0)]))]
        assert await asyncio.to_thread(network.entered.wait, 5), "it began with the first, waiting for none"
        tasks += [asyncio.create_task(engine.answer([n], [Patient(age=n)])) for n in range(1, 10)]
        await asyncio.sleep(0.1)
        network.gate.set()
        assert await asyncio.gather(*tasks) == [[(n, n)] for n in range(10)], "every one its own answer"
        assert [len(batch) for batch in network.seen] == [1, 1, 4, 4, 1]

    run(test, batch=4)


def test_questions_of_several_pictures_are_answered_in_their_order_in_no_larger_batches():
    async def test(engine, network):
        network.gate.clear()
        asked = [([(n, m) for m in range(3)], [Patient(age=m) for m in range(3)]) for n in range(4)]
        tasks = [asyncio.create_task(engine.answer(*one)) for one in asked]
        await asyncio.sleep(0.1)
        network.gate.set()
        for n, found in enumerate(await asyncio.gather(*tasks)):
            assert found == [((n, m), m) for m in range(3)]
        assert max(map(len, network.seen)) <= batch

    for batch in (1, 2, 5):
        run(test, batch=batch)


def test_with_the_network_stuck_it_is_not_ready():
    async def test(engine, network):
        network.gate.clear()
        with pytest.raises(Problem):
            await engine.answer(["stuck"], [Patient()])
        await asyncio.sleep(0.1)
        assert not engine.ready
        network.gate.set()
        await asyncio.sleep(0.2)
        assert engine.ready

    run(test, seconds=0.3)


def test_beyond_the_queue_there_is_no_room_and_afterwards_there_is():
    async def test(engine, network):
        with engine.room() as first, engine.room() as second:
            first.grow(2)
            with pytest.raises(Problem) as caught:
                second.grow(3)
            assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
            second.grow(2)
            with pytest.raises(Problem), engine.room():
                pass
        with engine.room() as whole:
            whole.grow(4)

    run(test, queue=4)


def test_what_takes_too_long_is_given_up_and_not_looked_at_later():
    async def test(engine, network):
        network.gate.clear()
        stuck = asyncio.create_task(engine.answer(["stuck"], [Patient()]))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(engine.answer(["waiting"], [Patient()]))
        for task in (stuck, waiting):
            with pytest.raises(Problem) as caught:
                await task
            assert caught.value.status == 503
        network.gate.set()
        assert await engine.answer(["next"], [Patient()]) == [("next", None)]
        assert ["waiting"] not in network.seen

    run(test, seconds=0.3)


def test_a_network_that_fails_fails_its_batch_alone():
    async def test(engine, network):
        with pytest.raises(RuntimeError, match="the network failed"):
            await engine.answer(["bad"], [Patient()])
        assert await engine.answer(["good"], [Patient()]) == [("good", None)]

    run(test)


def test_stopping_answers_what_is_inside():
    async def test(engine, network):
        network.gate.clear()
        tasks = [asyncio.create_task(engine.answer([n], [Patient()])) for n in range(3)]
        await asyncio.sleep(0.05)
        network.gate.set()
        await asyncio.to_thread(engine.stop)
        assert [await task for task in tasks] == [[(0, None)], [(1, None)], [(2, None)]]

    run(test)
