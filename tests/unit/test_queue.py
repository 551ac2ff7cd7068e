"""The work queue on a real event loop: one pass per key at a time, nothing forgotten, nothing done for nothing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
from agentruns.core.naming import Key
from agentruns.queue import Queue

A, B = ("shop", "a"), ("shop", "b")


async def until(what: Callable[[], object], seconds: float = 5) -> None:
    """Returns once something is so."""
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.001)


def worked(
    work: Callable[[Key], Awaitable[float | None]],
    scene: Callable[[Queue], Coroutine[Any, Any, None]],
    failed: Callable[[Key, int, Exception], None] | None = None,
) -> None:
    """Plays a scene with a queue whose workers work, and ends them."""

    async def play() -> None:
        queue = Queue(work, failed or (lambda *_: None), workers=4)
        running = asyncio.create_task(queue.run())
        try:
            await scene(queue)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(play())


class Gate:
    """Work that waits until it is let go on, and counts what it was given."""

    def __init__(self) -> None:
        self.begun: list[Key] = []
        self.done: list[Key] = []
        self.most = Counter[Key]()
        self._now = Counter[Key]()
        self._open = asyncio.Event()

    def open(self) -> None:
        """Everything that waits goes on, and nothing waits any more."""
        self._open.set()

    async def __call__(self, key: Key) -> None:
        self.begun.append(key)
        self._now[key] += 1
        self.most[key] = max(self.most[key], self._now[key])
        await self._open.wait()
        self._now[key] -= 1
        self.done.append(key)


def test_a_namespace_with_many_keys_does_not_keep_others_from_their_turn() -> None:
    gate = Gate()
    many = [("hog", f"r{n}") for n in range(50)]

    async def scene(queue: Queue) -> None:
        for key in many:
            queue.add(key)
        queue.add(A)
        await until(lambda: len(gate.begun) == 4)
        gate.open()
        await until(lambda: len(gate.done) == 51)

    worked(gate, scene)
    assert gate.begun.index(A) == 1
    assert [key for key in gate.begun if key != A] == many


def test_a_namespace_whose_passes_do_not_end_does_not_have_all_workers() -> None:
    gate = Gate()
    many = [("hog", f"r{n}") for n in range(50)]

    async def scene(queue: Queue) -> None:
        for key in many:
            queue.add(key)
        await until(lambda: gate.begun == many[:3])
        queue.add(A)
        await until(lambda: A in gate.begun)
        assert gate.begun == [*many[:3], A], "four workers"
        gate.open()
        await until(lambda: len(gate.done) == 51)

    worked(gate, scene)


def test_a_key_is_worked_on_by_one_worker_at_a_time_and_once_more_for_all_that_came_meanwhile() -> None:
    gate = Gate()

    async def scene(queue: Queue) -> None:
        queue.add(A)
        await until(lambda: gate.begun == [A])
        for _ in range(100):
            queue.add(A)
        queue.add(B)
        await until(lambda: B in gate.begun)
        gate.open()
        await until(lambda: len(gate.done) == 3)

    worked(gate, scene)
    assert Counter(gate.done) == {A: 2, B: 1}
    assert gate.most == {A: 1, B: 1}


def test_adding_a_key_that_waits_is_free() -> None:
    gate = Gate()

    async def scene(queue: Queue) -> None:
        for _ in range(100):
            queue.add(A)
        gate.open()
        await until(lambda: gate.done)
        queue.add(B)
        await until(lambda: B in gate.done)

    worked(gate, scene)
    assert gate.done == [A, B]


def test_a_pass_says_when_to_look_again() -> None:
    passes: list[float] = []

    async def work(_: Key) -> float | None:
        passes.append(asyncio.get_running_loop().time())
        return 0.05 if len(passes) == 1 else None

    async def scene(queue: Queue) -> None:
        queue.add(A)
        await until(lambda: len(passes) == 2)
        queue.add(B)
        await until(lambda: len(passes) == 3)

    worked(work, scene)
    assert passes[1] - passes[0] >= 0.05


def test_the_earliest_wish_counts_and_a_pass_in_between_takes_its_place() -> None:
    passes: list[Key] = []

    async def work(key: Key) -> None:
        passes.append(key)

    async def scene(queue: Queue) -> None:
        queue.add_after(A, 3600)
        queue.add_after(A, 0.02)
        queue.add_after(A, 0.04)
        queue.add_after(B, 0.08)
        await until(lambda: B in passes)
        assert passes == [A, B]
        queue.add_after(A, 0.02)
        queue.add(A)
        queue.add_after(B, 0.05)
        await until(lambda: passes.count(B) == 2)

    worked(work, scene)
    assert Counter(passes) == {A: 2, B: 2}


def test_a_wish_of_the_past_is_for_now() -> None:
    gate = Gate()
    gate.open()

    async def scene(queue: Queue) -> None:
        queue.add_after(A, -5)
        await until(lambda: gate.done == [A])

    worked(gate, scene)


def test_what_fails_is_tried_again_later_and_later_and_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    times: list[float] = []
    others: list[Key] = []

    async def work(key: Key) -> None:
        if key == B:
            others.append(key)
            return
        times.append(asyncio.get_running_loop().time())
        if len(times) < 4:
            raise RuntimeError("no")

    told: list[tuple[Key, int, str]] = []
    depths: list[int] = []

    async def scene(queue: Queue) -> None:
        queue.add(A)
        queue.add(B)
        await until(lambda: len(told) == 2)
        depths.append(queue.depth)
        await until(lambda: len(times) == 4)
        await until(lambda: queue.depth == 0)

    worked(work, scene, lambda key, count, error: told.append((key, count, str(error))))
    assert depths == [1]
    assert told == [(A, 1, "no"), (A, 2, "no"), (A, 3, "no")]
    waits = [after - before for before, after in pairwise(times)]
    assert all(wait >= 0.05 * 2**place for place, wait in enumerate(waits))
    assert others == [B]
    assert [bool(record.exc_info) for record in caplog.records] == [False, False, True]


class BusyError(Exception):
    """What an API server answers that asks not to be asked again for a while."""

    retry_after = 0.3


def test_a_key_is_not_tried_again_before_the_api_server_wants_it_whatever_comes_meanwhile() -> None:
    times: list[float] = []

    async def work(_: Key) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise BusyError

    async def scene(queue: Queue) -> None:
        queue.add(A)
        await until(lambda: times)
        await asyncio.sleep(0.01)
        queue.add(A)
        await until(lambda: len(times) == 2)
        queue.add(A)
        await until(lambda: len(times) == 3)

    worked(work, scene)
    assert times[1] - times[0] >= 0.3
    assert times[2] - times[1] < 0.2


def test_success_forgives_earlier_failures() -> None:
    outcomes = [RuntimeError("no"), None, RuntimeError("no"), None]
    times: list[float] = []

    async def work(_: Key) -> None:
        times.append(asyncio.get_running_loop().time())
        if error := outcomes.pop(0):
            raise error

    async def scene(queue: Queue) -> None:
        queue.add(A)
        await until(lambda: len(times) == 2)
        queue.add(A)
        await until(lambda: len(times) == 4)

    worked(work, scene)
    assert times[3] - times[2] < 1


def test_it_is_known_since_when_keys_wait_without_any_pass_ending() -> None:
    gate = Gate()

    async def scene(queue: Queue) -> None:
        assert queue.waiting_since is None
        keys = [(f"shop-{number % 2}", str(number)) for number in range(6)]
        for key in keys:
            queue.add(key)
        await until(lambda: len(gate.begun) == 4)
        since = queue.waiting_since
        assert since is not None
        assert queue.waiting_since == since
        gate.open()
        await until(lambda: len(gate.done) == 6)
        assert queue.waiting_since is None

    worked(gate, scene)
