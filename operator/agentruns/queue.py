"""A keyed work queue: one pass per key at a time, coalesced, by turns of namespaces, with wake-ups and back-off.

A namespace never has all workers: whatever its passes wait for, those of others go on.
"""

import asyncio
import heapq
import logging
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

from agentruns.core.naming import Key

FIRST_BACKOFF: Final = 0.1
MAX_BACKOFF: Final = 30.0

log = logging.getLogger(__name__)


class Queue:
    """Hands keys to a coroutine. Adding a key that waits is free; one that is being worked on is worked on again."""

    def __init__(
        self,
        work: Callable[[Key], Awaitable[float | None]],
        failed: Callable[[Key, int, Exception], None],
        workers: int = 20,
        noun: str = "run",
    ) -> None:
        """`work` returns after how many seconds to look again, or None; `failed` is told how often in a row it did.

        `workers` is how many passes there are at once, of which one namespace has four in five; `noun` is what the
        log calls the name of a key.
        """
        self._work, self._failed, self._workers, self._noun = work, failed, workers, noun
        self._share = max(workers * 4 // 5, 1)
        self._turns: OrderedDict[str, deque[Key]] = OrderedDict()
        self._workers_of = Counter[str]()
        self._waiting: set[Key] = set()
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[Key, int] = {}
        self._passes: asyncio.TaskGroup | None = None
        self._not_before: dict[Key, float] = {}
        self._progress = time.monotonic()

    def add(self, key: Key) -> None:
        """The key is worked on as soon as a worker is free, but never before the API server wants to be asked again."""
        if key in self._not_before and self._not_before[key] > asyncio.get_running_loop().time():
            return  # it is worked on then
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            if not self._waiting:
                self._progress = time.monotonic()
            self._waiting.add(key)
            self._turns.setdefault(key[0], deque()).append(key)
            self._begin_soon()

    @property
    def depth(self) -> int:
        """How many keys wait: for their turn, or to be tried again after a failure."""
        return len(self._waiting | self._failures.keys())

    @property
    def waiting_since(self) -> float | None:
        """Since when (monotonic seconds) keys wait while no pass ends; None if none waits, or nobody works."""
        return self._progress if self._waiting and self._passes else None

    def add_after(self, key: Key, seconds: float) -> None:
        """The key is worked on after a while, or earlier if it is added before; the earliest wish counts."""
        due = asyncio.get_running_loop().time() + max(seconds, 0)
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._set_timer()

    async def run(self) -> None:
        """Works until it is cancelled; what was added before waits until then."""
        self._progress = time.monotonic()
        async with asyncio.TaskGroup() as passes:
            self._passes = passes
            self._begin_soon()
            try:
                await asyncio.Event().wait()
            finally:
                self._passes = None

    def _begin_soon(self) -> None:
        """Once all that comes with this has been added: only then is it known whose turn it is."""
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Has everything worked on for which there is a worker."""
        while self._passes and len(self._busy) < self._workers and (key := self._next()):
            self._waiting.discard(key)
            self._busy.add(key)
            self._workers_of[key[0]] += 1
            self._due.pop(key, None)
            self._passes.create_task(self._worked_on(key))

    async def _worked_on(self, key: Key) -> None:
        try:
            await self._pass(key)
        finally:
            self._busy.discard(key)
            self._workers_of[key[0]] -= 1
            if not self._workers_of[key[0]]:
                del self._workers_of[key[0]]
            self._progress = time.monotonic()
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        self._begin_soon()

    def _next(self) -> Key | None:
        """The key that has waited longest in the namespace that has waited longest for a turn, and may have one."""
        namespace = next((it for it in self._turns if self._workers_of[it] < self._share), None)
        if namespace is None:
            return None
        keys = self._turns.pop(namespace)
        key = keys.popleft()
        if keys:
            self._turns[namespace] = keys
        return key

    async def _pass(self, key: Key) -> None:
        """One piece of work; whatever goes wrong is logged, counted, and tried again later and later."""
        try:
            again = await self._work(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 16), MAX_BACKOFF) * random.uniform(0.5, 1)
            if wanted := getattr(error, "retry_after", 0.0):
                delay = max(delay, wanted * random.uniform(1, 1.1))
                self._not_before[key] = asyncio.get_running_loop().time() + wanted
            self._failed(key, failures, error)
            fields = {"namespace": key[0], self._noun: key[1]}
            log.warning("pass failed, again in %.1f s: %s", delay, error, extra=fields, exc_info=failures == 3)
            self.add_after(key, delay)
            return
        self._failures.pop(key, None)
        self._not_before.pop(key, None)
        if again is not None:
            self.add_after(key, again)

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._heap[0][0], self._wake) if self._heap else None

    def _wake(self) -> None:
        """Adds every key whose time has come; an entry that an earlier wish replaced is passed over."""
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._set_timer()
