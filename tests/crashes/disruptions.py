"""The world's part: while no operator is there, its pod is deleted, torn out, or evicted, in each of its states."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agentruns.core.attempts import GRACE, OVERTIME, START_WINDOW

from tests.accounts import Body
from tests.commands import kubectl
from tests.crashes.cases import EVERY, SECONDS, Case, Found, die, resumed
from tests.crashes.lives import ALL, Life
from tests.crashes.scene import RUN, TIMEOUT, Scene, Stage, opened_scene
from tests.faults.fault import Fault, Moment
from tests.waiting import until


@dataclass(frozen=True)
class State:
    """A state of the only pod, the death that leaves it so, and when it is reached."""

    name: str
    death: Fault
    reached: Callable[[Scene, Body], bool]
    does: float = 0.0
    """For how many seconds the tool goes on after its effect."""


STATES = (
    State("made, not recorded", Fault("put AgentRun/status", 1), lambda _, pod: bool(pod["spec"]["schedulingGates"])),
    State("recorded, still gated", Fault("ungate Pod", 1), lambda _, pod: bool(pod["spec"]["schedulingGates"])),
    State("after its effect", Fault("ungate Pod", 1, Moment.AFTER), lambda scene, _: bool(scene.effects()), does=600),
    State(
        "ended, not read",
        Fault("ungate Pod", 1, Moment.AFTER),
        lambda _, pod: pod["status"]["phase"] == "Succeeded",
    ),
)


def _deleted(scene: Scene, pod: str) -> None:
    scene.space.delete("pods", pod)


def _let_go(scene: Scene, pod: str) -> None:
    scene.space.delete("pods", pod)
    place = (scene.space.name, "pods", pod)
    freed = scene.space.admin.patch(place, {"metadata": {"finalizers": None}}, store=True)
    assert freed.status in (200, 404), freed.message


def _evicted(scene: Scene, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": scene.space.name}}
    kubectl(
        "create",
        "--raw",
        f"/api/v1/namespaces/{scene.space.name}/pods/{pod}/eviction",
        "-f",
        "-",
        stdin=json.dumps(eviction),
    )


LOST = TIMEOUT + (START_WINDOW + OVERTIME + GRACE).total_seconds()
"""Seconds after which an attempt is over for certain of which nobody knows whether it has begun."""
DEEDS = {"deleted": _deleted, "deleted, and its finalizer removed": _let_go, "evicted": _evicted}


def disrupted(stage: Stage, state: State, deed: str, effect: str) -> Found:
    """What comes of a pod that this is done to in this state, while no operator is there."""
    with opened_scene(stage) as scene, scene.operator("first") as first, scene.operator("second") as second:
        first.begin(state.death)
        scene.begin(Life("", "", (), steps=({"seconds": state.does},)), effect)
        die(scene, first)
        [pod] = scene.space.pods(RUN)
        name = pod["metadata"]["name"]
        until(
            lambda: state.reached(scene, scene.space.get("pods", name)),
            f"its pod is {state.name}",
            SECONDS,
            every=EVERY,
        )
        DEEDS[deed](scene, name)
        return resumed(scene, case_of(state, deed, effect), second)


def case_of(state: State, deed: str, effect: str) -> Case:
    """What must come of it: where the result is lost, it is repeated or, where that may not be, asked about."""
    gone = deed == "deleted, and its finalizer removed"
    begun = state.does > 0 or (gone and state.name == "ended, not read")
    unknown = begun or (gone and state.name == "recorded, still gated")
    may_repeat = effect != "NonIdempotent"
    times = 2 if begun and may_repeat else 1
    doubts = int(unknown and not may_repeat)
    seconds = SECONDS + (LOST if doubts and not begun else 0)  # it is run again, once what was lost is over for certain
    return Case("the pod, while no operator is there", state.name, deed, effect, times, doubts, seconds)


def cases(stage: Stage) -> list[tuple[Case, Callable[[], Found]]]:
    """Every state, deed and effect."""
    named = [(state, deed, effect) for state in STATES for deed in DEEDS for effect in ALL]
    return [(case_of(*it), partial(disrupted, stage, *it)) for it in named]
