"""Kills of the only operator at random moments."""

from __future__ import annotations

import random
import time

from tests.crashes.crowd import Crowd, Disturbed
from tests.crashes.scene import Stage, opened_scene

SEED = 4711


def killed_at_random(stage: Stage, kills: int) -> Disturbed:
    """What comes of so many kills."""
    draw, progressed = random.Random(SEED), 0
    with opened_scene(stage) as scene, scene.operator("o") as operator:
        crowd = Crowd(scene)
        for _ in range(kills):
            crowd.top_up()
            operator.begin()
            time.sleep(draw.uniform(0.3, 3.0))  # not a wait for something: the moment is what is drawn
            operator.kill()
            progressed += operator.progress() is not None
        operator.begin()
        moments = f"0.3 to 3 s after the start of each process, of which {progressed} lived to make progress"
        return crowd.ended(f"{kills} kills at random moments (seed {SEED}), {moments}")
