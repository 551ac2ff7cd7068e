"""The node's part: its kubelet stops while no operator is there, and goes on later. Nothing may run beside it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tests.cluster import processes
from tests.crashes.cases import EVERY, SECONDS, Case, Found, die, end, found
from tests.crashes.lives import ALL, Life
from tests.crashes.operators import FaultyOperator
from tests.crashes.scene import RUN, Scene, Stage, opened_scene
from tests.faults.fault import Fault, Moment
from tests.waiting import until

AWAY = 8.0
"""Seconds: less than after which a node is said to be lost."""
_GROUP = "the node, whose kubelet stops while no operator is there"


@contextmanager
def kubelet_stopped() -> Iterator[None]:
    """The kubelet of the local cluster does nothing; what runs on its node goes on."""
    kubelet = processes.recorded()["kubelet"]
    assert kubelet is not None, "the kubelet runs"
    os.kill(kubelet, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kubelet, signal.SIGCONT)


def stopped_before(stage: Stage, case: Case) -> Found:
    """What comes of a pod that is ungated while its kubelet does nothing."""
    with opened_scene(stage) as scene, scene.operator("first") as first, scene.operator("second") as second:
        first.begin(Fault("ungate Pod", 1))
        scene.begin(Life("", "", ()), case.effect)
        die(scene, first)
        with kubelet_stopped():
            second.begin()
            until(
                lambda: scene.space.pods(RUN)[0]["spec"].get("nodeName"), "the pod has its node", SECONDS, every=EVERY
            )
            time.sleep(AWAY)  # not a wait for something: so long the node is away
            assert not scene.effects(), "a node that does nothing runs nothing"
        return _ended(scene, case, second)


def stopped_after(stage: Stage, case: Case) -> Found:
    """What comes of a tool that ends while its kubelet does nothing."""
    with opened_scene(stage) as scene, scene.operator("first") as first, scene.operator("second") as second:
        first.begin(Fault("ungate Pod", 1, Moment.AFTER))
        scene.begin(Life("", "", (), steps=({"seconds": AWAY / 2},)), case.effect)
        die(scene, first)
        until(scene.effects, "its effect is done", SECONDS)
        with kubelet_stopped():
            second.begin()
            time.sleep(AWAY)
        return _ended(scene, case, second)


def _ended(scene: Scene, case: Case, operator: FaultyOperator) -> Found:
    end(scene, operator)
    return found(scene, case, until(operator.progress, "its progress is recorded", 10))


def cases(stage: Stage) -> list[tuple[Case, Callable[[], Found]]]:
    """Every state and effect; none where the kubelet is not ours to stop."""
    if not processes.recorded().get("kubelet"):
        return []
    states = {"ungated, not begun": stopped_before, "after its effect": stopped_after}
    named = [(Case(_GROUP, state, f"{AWAY:.0f} s", effect), made) for state, made in states.items() for effect in ALL]
    return [(case, partial(made, stage, case)) for case, made in named]
