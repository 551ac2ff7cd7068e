"""What all parts of the simulated world share: its API server, its clock, its chances, and what has happened."""

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from agentruns.settings import Limits

from tests.simulation.loop import VirtualLoop
from tests.simulation.world.api import ApiServer
from tests.simulation.world.habits import Habits
from tests.simulation.world.ledger import Ledger

QUICK: Final = 0.02
"""Seconds that a step on the way to the API server and back takes, mostly."""


class World:
    """One seed's world."""

    def __init__(self, seed: int, loop: VirtualLoop, habits: frozenset[str]) -> None:
        self.random = Random(seed)
        self.loop = loop
        self.habits = Habits.drawn(self.random, habits, Random(f"{seed} apart"))
        self.api = ApiServer(loop.utc_now, self._unique)
        self.ledger = Ledger()
        self.torn_out: set[str] = set()
        """The UIDs of pods that a person took away from everybody."""
        self.deleted_runs: set[str] = set()
        """The UIDs of runs that a person has deleted."""
        self.limits = Limits(
            active_pods=self.random.choice((0, 0, 1, 3)), active_pods_per_namespace=self.random.choice((0, 0, 1, 2))
        )
        self.operators = 0
        """How many there have ever been."""
        self.unanswered: set[str] = set()
        """The UIDs of pods whose creation was answered by a time-out."""
        self.violations: list[str] = []
        self.broken: list[Exception] = []
        self.trace: list[str] = []
        self.traced = False
        self._tasks: set[Any] = set()
        self._count = 0

    def _unique(self) -> str:
        self._count += 1
        return f"uid-{self._count:04d}"

    def violated(self, rule: str) -> None:
        """A promise is broken."""
        self.violations.append(f"{self.loop.time():.3f} {rule}")
        self.note(f"VIOLATED {rule}")

    def broke(self, context: dict[str, Any]) -> None:
        """A part of the world itself breaks: a mistake in here, and no finding."""
        if isinstance(error := context.get("exception"), Exception):
            self.broken.append(error)

    def note(self, text: str) -> None:
        """Something happened, for whoever reads a seed's course."""
        if self.traced:
            self.trace.append(f"{self.loop.time():12.3f} {text}")

    def delay(self, usual: float = QUICK) -> float:
        """Some time around the usual: often next to none, sometimes much longer."""
        return self.random.expovariate(1 / usual)

    def later(self, seconds: float, callback: Callable[..., object], *arguments: Any) -> None:
        """Has something happen after a while."""
        self.loop.call_later(seconds, callback, *arguments)

    def begins(self, course: Coroutine[Any, Any, None]) -> None:
        """Has a course of things begin; one that breaks is a bug of the world."""
        task = self.loop.create_task(course)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: Any) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()
