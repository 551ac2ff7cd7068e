"""Runs of every life and effect at once in one namespace, for disturbances at random moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from tests.cluster.console import ClusterError
from tests.crashes.cases import effects_of
from tests.crashes.lives import LIVES, Life
from tests.crashes.scene import Scene
from tests.waiting import until

AT_ONCE = 6
SECONDS = 300.0
"""In which all runs end, or some are stuck."""


@dataclass(frozen=True)
class Begun:
    """A run of the crowd."""

    name: str
    life: Life
    effect: str


@dataclass(frozen=True)
class Disturbed:
    """What came of a crowd, as lines of a report, and what is wrong of that."""

    lines: tuple[str, ...]
    wrong: tuple[str, ...]


def tried(what: str, made: Callable[[], Disturbed]) -> Disturbed:
    """What came of a crowd; that it could not be disturbed so to the end is wrong as well."""
    try:
        return made()
    except Exception as error:  # whatever it is, the others go on
        return Disturbed((f"- {what}: not taken to its end",), (f"{what}: {type(error).__name__}: {error}",))


class Crowd:
    """Runs of every life and effect in turn, as many at once as there may be."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._number = scene, count()
        self._kinds = [(life, effect) for life in LIVES for effect in life.effects]
        self._begun: list[Begun] = []
        for tool, effect in {(life.tool, effect) for life, effect in self._kinds}:
            scene.make_tool(tool, effect)

    def top_up(self) -> None:
        """Starts as many as are missing."""
        for _ in range(AT_ONCE - len(self._scene.living())):
            number = next(self._number)
            life, effect = self._kinds[number % len(self._kinds)]
            run = Begun(f"r{number}", life, effect)
            self._scene.start(life, effect, run.name)
            self._begun.append(run)

    def ended(self, what: str) -> Disturbed:
        """What has come of all runs, which were disturbed so, once they are over."""
        try:
            until(lambda: not self._scene.living(), "", SECONDS, every=0.5)
        except ClusterError:
            stuck = tuple(self._scene.living())
            return Disturbed((f"- {what}: {len(stuck)} of {len(self._begun)} runs are stuck",), stuck)
        wrong = [f"{it.name} ({it.life.name}, {it.effect}): {what}" for it in self._begun for what in self._wrong(it)]
        done = sum(len(self._scene.effects(it.name)) for it in self._begun)
        doubts = sum(self._scene.doubts(it.name) for it in self._begun)
        told = f"{len(self._begun)} runs with {done} effects: {len(wrong)} wrong, 0 stuck, {doubts} questions"
        return Disturbed((f"- {what}, over {told}",), tuple(wrong))

    def _wrong(self, run: Begun) -> list[str]:
        times, wrong = effects_of(self._scene, run.name)
        if set(times) != {run.life.times}:
            wrong.append(f"effects: {times}, not {run.life.times} each")
        if (doubts := self._scene.doubts(run.name)) != run.life.doubts:
            wrong.append(f"{doubts} questions, not {run.life.doubts}")
        return wrong
