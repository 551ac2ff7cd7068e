"""Fail-over: of two operators with a Lease the one that leads is killed or stopped, and the other goes on."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from tests.commands import kubectl
from tests.crashes.cases import Case, Found, case_of, end, found, is_over, standing
from tests.crashes.crowd import Crowd, Disturbed
from tests.crashes.lives import ALL, PLAIN
from tests.crashes.operators import FaultyOperator
from tests.crashes.report import spread
from tests.crashes.scene import Scene, Stage, opened_scene
from tests.faults.calls import is_write
from tests.faults.fault import Fault, Moment
from tests.installed import IN_SYSTEM
from tests.waiting import until

SEED = 4711
TAKEN_OVER = 60.0
"""Seconds in which the standby makes progress: the Lease lasts 15, and the machine may be busy."""
_MOMENTS = {"ReadOnly": (Moment.SENT,), "Idempotent": (Moment.SENT,), "NonIdempotent": tuple(Moment)}
"""All where nothing may be repeated; elsewhere the one of which nobody knows whether the call is carried out."""


def cases(stage: Stage) -> list[tuple[Case, Callable[[], Found]]]:
    """Every write in the life of two steps, for every effect."""
    faults = [
        (effect, Fault(call, number, moment))
        for call, number in PLAIN.points
        if is_write(call)
        for effect in ALL
        for moment in _MOMENTS[effect]
    ]
    return [(case_of(PLAIN, *it), partial(failed_over, stage, *it)) for it in faults]


def failed_over(stage: Stage, effect: str, fault: Fault) -> Found:
    """What comes of a leader's death at a point of two steps, with a standby there."""
    with opened_scene(stage) as scene, scene.replica("leader") as leader, scene.replica("standby") as standby:
        stand(scene, leader, standby, fault)
        scene.begin(PLAIN, effect)
        until(leader.has_ended, lambda: f"the leader has ended; {standing(scene, leader)}", every=0.02)
        died, left = time.time(), not is_over(scene)
        end(scene, standby)
        lease, progress = (at and at - died for at in (standby.leads_since(), standby.first_write()))
        assert progress or not left, "the run is over, and the standby has done nothing for it"
        return found(scene, case_of(PLAIN, effect, fault), progress, lease=lease)


def stand(scene: Scene, leader: FaultyOperator, standby: FaultyOperator, fault: Fault | None = None) -> None:
    """Returns once one leads, to whom this is to happen, and the other one stands by with everything known to it."""
    allow_lease(scene.space.name)
    leader.begin(fault)
    until(leader.leads_since, "the first leads")
    standby.begin()
    until(standby.knows_the_lease, "the other stands by")


def allow_lease(namespace: str) -> None:
    """Gives the operator in a namespace of its own the right to the Lease that the chart gives it in the system's."""
    for kind in ("role", "rolebinding"):
        given = json.loads(kubectl("get", kind, "agentruns-operator-lease", IN_SYSTEM, "--output=json"))
        given["metadata"] = {"name": given["metadata"]["name"], "namespace": namespace}
        kubectl("create", "-f", "-", stdin=json.dumps(given))


def killed(stage: Stage, times: int) -> Disturbed:
    """What comes of so many kills at random moments of whoever leads."""
    return _ended_at_random(stage, times, "kills of whoever leads", FaultyOperator.kill)


def stopped(stage: Stage, times: int) -> Disturbed:
    """What comes of it if whoever leads is told to stop, so often, and lets the Lease go."""
    return _ended_at_random(stage, times, "times whoever leads is told to stop (SIGTERM)", FaultyOperator.stop)


def _ended_at_random(stage: Stage, times: int, what: str, end_of: Callable[[FaultyOperator], None]) -> Disturbed:
    draw, leases, progress = random.Random(SEED), list[float](), list[float]()
    with opened_scene(stage) as scene, ExitStack() as replicas:
        names = (f"o{number}" for number in range(times + 2))  # a pod that takes another's place has another name
        leader, standby = (replicas.enter_context(scene.replica(next(names))) for _ in range(2))
        stand(scene, leader, standby)
        crowd = Crowd(scene)
        for _ in range(times):
            crowd.top_up()
            time.sleep(draw.uniform(0.3, 3.0))  # not a wait for something: the moment is what is drawn
            ended_at = time.time()
            end_of(leader)
            crowd.top_up()  # there is something to do
            leader, standby = standby, replicas.enter_context(scene.replica(next(names)))
            progress.append(until(leader.first_write, "the standby makes progress", TAKEN_OVER) - ended_at)
            leases.append(until(leader.leads_since, "the standby leads") - ended_at)
            standby.begin()
            until(standby.knows_the_lease, "another one stands by")
        told = crowd.ended(f"{times} {what}, at random moments (seed {SEED}), 0.3 to 3 s after there were two again")
    later = [made - led for made, led in zip(progress, leases, strict=True)]
    spreads = spread("from that to progress", progress), spread("from holding the Lease to progress", later)
    return Disturbed((*told.lines, *(f"  - {it}" for it in spreads)), told.wrong)
