"""Kills at random moments, over runs of every life and effect at once in one namespace."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from itertools import count

from tests.crashes.cases import effects_of
from tests.crashes.lives import LIVES, PLAIN, Life
from tests.crashes.scene import Scene, Stage, opened_scene
from tests.space import FINAL
from tests.waiting import until

AT_ONCE = 6
SECONDS = 300.0


@dataclass(frozen=True)
class Begun:
    """A run of the crowd."""

    name: str
    life: Life
    effect: str


class Crowd:
    """Runs of every life and effect in turn, as many at once as there may be."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._number = scene, count()
        self._kinds = [(life, effect) for life in LIVES for effect in life.effects]
        self.begun: list[Begun] = []
        for effect in PLAIN.effects:
            for asks in (False, True):
                scene.make_tool(effect, asks=asks)

    def living(self) -> list[Begun]:
        """Those that are not over; what they ask is answered."""
        phases = {
            it["metadata"]["name"]: it.get("status", {}).get("phase") for it in self._scene.space.all("agentruns")
        }
        self._scene.answer_all()
        return [it for it in self.begun if phases[it.name] not in FINAL]

    def top_up(self) -> None:
        """Starts as many as are missing."""
        for _ in range(AT_ONCE - len(self.living())):
            number = next(self._number)
            life, effect = self._kinds[number % len(self._kinds)]
            run = Begun(f"r{number}", life, effect)
            self._scene.start(life, effect, run.name)
            self.begun.append(run)


def killed_at_random(stage: Stage, kills: int, seed: int) -> tuple[list[str], list[str]]:
    """What came of so many kills, as lines of a report; and what is wrong of that."""
    draw, progressed = random.Random(seed), 0
    with opened_scene(stage) as scene, scene.operator("o") as operator:
        crowd = Crowd(scene)
        for _ in range(kills):
            crowd.top_up()
            operator.begin()
            time.sleep(draw.uniform(0.3, 3.0))  # not a wait for something: the moment is what is drawn
            operator.kill()
            progressed += operator.progress() is not None
        operator.begin()
        until(lambda: not crowd.living(), lambda: f"all runs are over: {crowd.living()}", SECONDS, every=0.5)
        wrong = [f"{it.name} ({it.life.name}, {it.effect}): {what}" for it in crowd.begun for what in held(scene, it)]
        done = sum(len(scene.effects(it.name)) for it in crowd.begun)
        doubts = sum(scene.doubts(it.name) for it in crowd.begun)
    lines = [
        f"- {kills} kills at random moments (seed {seed}), 0.3 to 3 s after the start of each process, over",
        f"  {len(crowd.begun)} runs with {done} effects: {len(wrong)} wrong, {doubts} questions; {progressed} of the",
        "  processes lived to make progress",
    ]
    return lines, wrong


def held(scene: Scene, run: Begun) -> list[str]:
    """What is wrong with a run that is over."""
    times, wrong = effects_of(scene, run.name)
    if set(times) != {run.life.times}:
        wrong.append(f"effects: {times}, not {run.life.times} each")
    if (doubts := scene.doubts(run.name)) != run.life.doubts:
        wrong.append(f"{doubts} questions, not {run.life.doubts}")
    return wrong
