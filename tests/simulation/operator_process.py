"""The real operator: its store, queue, passes, answers and log readers, put together as its entry point does it."""

import asyncio
import json
from datetime import timedelta
from typing import Any, Final, cast

import aiohttp
from agentruns.announce import Announcer
from agentruns.answers import Answers
from agentruns.cluster import ApiError, Cluster
from agentruns.collecting import keep_forgetting
from agentruns.core.expressions import evaluated
from agentruns.core.lexing import ExpressionError
from agentruns.core.naming import Key
from agentruns.core.problems import Problem
from agentruns.core.questions import Costly, Evaluation, Validation
from agentruns.core.schemas import validated
from agentruns.costly import Evaluators
from agentruns.listing import keep_listing, list_persistently
from agentruns.performing import StaleError
from agentruns.queue import Queue
from agentruns.reconciler import App, reconcile
from agentruns.results import Followers
from agentruns.room import Room
from agentruns.settings import Settings
from agentruns.store import Store

from tests.simulation.world.kubelet import Kubelet
from tests.simulation.world.network import Connection, Process
from tests.simulation.world.watching import Watch, watches
from tests.simulation.world.world import World

RETENTION: Final = timedelta(minutes=2)
"""How long pods are kept, and claims."""
WORKERS: Final = 3


class InlineEvaluators(Evaluators):
    """Evaluates where it is asked: processes would not keep to virtual time."""

    async def answer(self, question: Costly, namespace: str) -> tuple[Any, float]:
        del namespace
        await asyncio.sleep(0)
        return _answered(question), 0.0


def _answered(question: Costly) -> Any:
    match question:
        case Evaluation():
            try:
                return evaluated(question.expression, json.loads(question.environment))
            except Problem as problem:
                return ExpressionError(str(problem))
        case Validation():
            return validated(question.schema, json.loads(question.value))


class OperatorProcess:
    """One process of the operator, which may be killed, stopped and woken."""

    def __init__(self, world: World, kubelet: Kubelet, name: str) -> None:
        self.world, self.name = world, name
        self.process = Process(world)
        self.calls = 0
        connection = cast("Any", Connection(world, kubelet, self.process, self._about_to_call))
        self._cluster = Cluster(connection, connection)
        self._queue = Queue(self._pass, self._failed, workers=WORKERS)
        self.store = Store(self._queue.add, lambda _: None)
        evaluators = InlineEvaluators()
        settings = Settings(pod_retention=RETENTION, limits=world.limits)
        self.app = App(
            self._cluster,
            self.store,
            Answers(self._cluster, self.store, self._queue.add, evaluators),
            Room(settings.limits, self.store, self._queue.add),
            Followers(self._cluster, self.store),
            Announcer(self._cluster, name, name),
            settings,
        )
        self._watches: list[Watch] = []
        self._tasks = [world.loop.create_task(self._operates())]

    async def _operates(self) -> None:
        await list_persistently(self._cluster, self.store, ())
        self._watches = watches(self.world, self.process, self.store)
        for watch in self._watches:
            self.world.api.changed.append(watch.changed)
            self.world.later(self.world.delay(0.1), self.process.reaches, watch.begins)
        self._tasks.append(self.world.loop.create_task(keep_listing(self._cluster, self.store, (), asyncio.Event())))
        if "run made again" in self.world.habits.names:
            self._tasks.append(self.world.loop.create_task(keep_forgetting(self._cluster, (), RETENTION)))
        await self._queue.run()

    async def _pass(self, key: Key) -> float | None:
        return await reconcile(key, self.app)

    def _failed(self, key: Key, times: int, error: Exception) -> None:
        self.world.note(f"{self.name}: pass {times} over {key} failed: {error!r}")
        if not isinstance(error, ApiError | StaleError | aiohttp.ClientError):
            self.world.violated(f"a pass fails on {error!r}")

    def _about_to_call(self) -> None:
        self.calls += 1
        if not self.process.dead and not self.process.frozen:
            if self.world.habits.strikes("crash"):
                self.kill()
            elif self.world.habits.strikes("freeze"):
                self.stop(self.world.random.choice((2.0, 30.0, 900.0)))

    def kill(self) -> None:
        """The process is gone between two instructions; requests that it has sent are on their way."""
        self.world.note(f"{self.name} is killed")
        self.process.dead = True
        for watch in self._watches:
            self.world.api.changed.remove(watch.changed)
        self._watches = []
        for task in self._tasks:
            task.cancel()
        self.world.begins(self.app.followers.close())
        self.world.begins(self.app.answers.close())

    def stop(self, seconds: float) -> None:
        """The process stands still for a while, and knows nothing of it."""
        self.world.note(f"{self.name} is stopped for {seconds} s")
        self.process.frozen = True
        self.world.later(seconds, self._wakes)

    def _wakes(self) -> None:
        self.world.note(f"{self.name} is woken")
        self.process.wake()

    async def closed(self) -> None:
        """Once nothing of it runs any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.app.followers.close()
        await self.app.answers.close()
