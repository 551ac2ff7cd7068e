"""One seed from its first manifest to the rest at its end."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

from agentruns import clock, collecting
from agentruns.cluster import RUNS, TOOLS, Body

from tests.simulation.loop import VirtualDatetime, VirtualLoop
from tests.simulation.operator_process import OperatorProcess
from tests.simulation.promises import Promises
from tests.simulation.scenario import manifests
from tests.simulation.sights import Sights, Step
from tests.simulation.world.api import request
from tests.simulation.world.garbage import GarbageCollector
from tests.simulation.world.habits import harsh_ones
from tests.simulation.world.kubelet import Kubelet
from tests.simulation.world.people import People
from tests.simulation.world.world import World

TROUBLE: Final = 240.0
"""Seconds after which the world does nothing more to the operator."""
SETTLED_WITHIN: Final = 6 * 3600.0
"""Seconds after that within which everything has come to its end, people's late decisions included."""
FORGET_EVERY: Final = 30.0
"""Seconds between two looks for claims that may be forgotten, at most."""
CALLS: Final = 20_000
"""Requests that one seed may take at most: more is an operator that runs hot."""


@dataclass(frozen=True)
class Course:
    """What became of one seed."""

    seed: int
    violations: tuple[str, ...]
    met: Counter[str]
    phases: Counter[str]
    seconds: float
    calls: int
    trace: tuple[str, ...] = ()
    sights: frozenset[Step] = frozenset()
    """How pods went on; this and the trace only of what is traced."""


def simulated(seed: int, *, habits: frozenset[str] = frozenset(), harsh: bool = False, traced: bool = False) -> Course:
    """The course of a seed, the same every time; in a harsh world six habits are at work, and often, for certain."""
    loop = VirtualLoop()
    world = World(seed, loop, habits | harsh_ones(seed) if harsh else habits)
    loop.set_exception_handler(lambda _, context: world.broke(context))
    world.traced = traced
    random.seed(seed)
    try:
        with patch.object(clock, "datetime", VirtualDatetime), patch.object(collecting, "FORGET_EVERY", FORGET_EVERY):
            return loop.run_until_complete(Simulation(world, seed).course())
    finally:
        loop.close()


class Simulation:
    """One world with everybody in it."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._seed = world, seed
        self._promises = Promises(world)
        self._kubelet = Kubelet(world, self._promises, world.random.choice((1.0, 0.8, 0.5)))
        self._promises.can_be_read = self._kubelet.can_be_read
        self._operators: list[OperatorProcess] = []
        self._sights = Sights()
        parts: list[Any] = [self._promises, self._kubelet, People(world), GarbageCollector(world)]
        parts += [self._sights] if world.traced else []
        world.api.changed += [part.changed for part in parts]

    async def course(self) -> Course:
        """Everything is applied, trouble comes and goes, and what was promised holds at the end."""
        world = self._world
        in_git = "run made again" in world.habits.names
        for it in manifests(world.random, in_git=in_git):
            self._apply(it)
        for _ in range(2 if world.habits.strikes("two operators") else 1):
            self._operator()
        while not world.violations and (world.habits.at_work or self._promises.unsettled()):
            await asyncio.sleep(1.0 if world.habits.at_work else 20.0)
            self._replaced()
            world.habits.at_work = world.habits.at_work and world.loop.time() < TROUBLE
            self._check_bounds()
            if world.broken:
                raise world.broken[0]
        phases = Counter(str(it.get("status", {}).get("phase")) for it in world.api.all("agentruns"))
        for operator in self._operators:
            await operator.closed()
        calls = sum(it.calls for it in self._operators)
        violations = tuple(world.violations)
        traced = tuple(world.trace), frozenset(self._sights.steps)
        return Course(self._seed, violations, world.habits.met, phases, world.loop.time(), calls, *traced)

    def _apply(self, manifest: Body) -> None:
        resource = RUNS if manifest["kind"] == "AgentRun" else TOOLS
        path = resource.path(manifest["metadata"]["namespace"])
        self._world.api.answer(request("POST", path, {}, manifest))

    def _operator(self) -> None:
        self._world.operators += 1
        self._operators.append(OperatorProcess(self._world, self._kubelet, f"operator-{self._world.operators}"))

    def _replaced(self) -> None:
        """There is always an operator that is neither dead nor stopped; another takes over where none is."""
        if all(it.process.dead or it.process.frozen for it in self._operators):
            self._operator()

    def _check_bounds(self) -> None:
        world = self._world
        if world.loop.time() > TROUBLE + SETTLED_WITHIN:
            world.violated("not settled: " + "; ".join(self._promises.unsettled()))
        if sum(it.calls for it in self._operators) > CALLS:
            world.violated(f"more than {CALLS} requests: {'; '.join(self._promises.unsettled())}")
