"""No clock, no lease and no leader is part of the proof: an operator that sleeps through everything does no harm.

The old operator is stopped directly before the bytes of a call are sent. A new one finishes the step, its pod is
collected and its name is free again; then the old one wakes, and sends its bytes. With a Lease it ends over that.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from agentruns.core.naming import GATE_RECORDED

from tests.accounts import Body
from tests.crashes.cases import effects_of, is_over
from tests.crashes.effects import counted
from tests.crashes.fail_over import allow_lease
from tests.crashes.lives import PLAIN, Life
from tests.crashes.operators import FaultyOperator
from tests.crashes.scene import RUN, Scene, Stage, opened_scene
from tests.faults.fault import Deed, Fault
from tests.integration.operator_process import kubeconfig
from tests.waiting import until

ONE_STEP = Life("one step", "", ())
BEFORE_ITS_BYTES = (
    ("create Pod", 201),
    ("ungate Pod", 404),
    ("put AgentRun/status", 409),
)
"""A call that the old operator sends too late, and how it is answered."""


@pytest.fixture(scope="module")
def stage(scaled_down: None) -> Iterator[Stage]:
    """A counter of effects, and no operator but those of the test."""
    del scaled_down
    with counted() as effects:
        yield Stage.of(kubeconfig(), effects)


@dataclass(frozen=True)
class Late:
    """An old operator that sleeps directly before the bytes of a call, of a run that has ended without it."""

    scene: Scene
    old: FaultyOperator
    call: str
    pod: Body
    """The pod of its only step, as it was; its name is free."""

    def woken(self) -> int:
        """Wakes the old operator: how its call is answered, once it has learnt what became of the run."""
        self.old.wake()
        until(lambda: has_looked_again(self.old, self.call), "the old operator has looked again")
        return next(it.status for it in self.old.calls() if it.call == self.call)


@contextmanager
def too_late(stage: Stage, call: str, effect: str) -> Iterator[Late]:
    """Of two operators without a Lease the old one sleeps, while the new one goes on."""
    with opened_scene(stage) as scene, scene.operator("old") as old, scene.operator("new") as new:
        yield slept_through(scene, old, new, call, effect)


def slept_through(scene: Scene, old: FaultyOperator, new: FaultyOperator, call: str, effect: str) -> Late:
    """The new operator has finished the run, and its pod is deleted."""
    old.begin(Fault(call, deed=Deed.STOP))
    scene.begin(ONE_STEP, effect)
    until(old.has_stopped, "the old operator is stopped")
    new.begin()
    until(lambda: is_over(scene), "the new operator has finished the run")
    [pod] = scene.space.pods(RUN)
    scene.space.delete("pods", pod["metadata"]["name"])
    until(lambda: not scene.space.pods(RUN), "the name of its pod is free")
    return Late(scene, old, call, pod)


@pytest.mark.parametrize("effect", ["ReadOnly", "NonIdempotent"])
@pytest.mark.parametrize(("call", "answer"), BEFORE_ITS_BYTES)
def test_what_an_operator_sends_too_late_starts_nothing(stage: Stage, call: str, answer: int, effect: str) -> None:
    with too_late(stage, call, effect) as late:
        before = late.scene.space.status(RUN)
        assert late.woken() == answer
        until(lambda: not late.scene.space.pods(RUN), "nothing is left of what it made")
        assert late.scene.space.status(RUN) == before
        assert effects_of(late.scene, RUN) == ((1,), [])


def test_a_leader_that_slept_through_its_lease_starts_nothing_and_ends(stage: Stage) -> None:
    with ThreadPoolExecutor(len(BEFORE_ITS_BYTES)) as pool:
        list(pool.map(partial(_a_leader_sleeps, stage), (call for call, _ in BEFORE_ITS_BYTES)))


def _a_leader_sleeps(stage: Stage, call: str) -> None:
    with opened_scene(stage) as scene, scene.replica("old") as old, scene.replica("new") as new:
        allow_lease(scene.space.name)
        slept_through(scene, old, new, call, "NonIdempotent")
        assert new.leads_since(), "the new operator has the Lease"
        before = scene.space.status(RUN)
        old.wake()
        until(old.has_ended, "the old leader has ended")
        assert old.exit_code() == 1
        until(lambda: not scene.space.pods(RUN), "nothing is left of what it made")
        assert scene.space.status(RUN) == before
        assert effects_of(scene, RUN) == ((1,), [])


def test_what_an_operator_ungates_too_late_is_no_other_pod_of_the_name(stage: Stage) -> None:
    with too_late(stage, "ungate Pod", "NonIdempotent") as late:
        name, gate = late.pod["metadata"]["name"], [{"name": GATE_RECORDED}]
        spec = {key: late.pod["spec"][key] for key in ("containers", "volumes", "securityContext")}
        other = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": spec | {"schedulingGates": gate},
        }
        made = late.scene.space.admin.create((late.scene.space.name, "pods"), other, store=True)
        assert made.status == 201, made.message
        assert late.woken() == 422
        assert late.scene.space.get("pods", name)["spec"]["schedulingGates"] == gate


def has_looked_again(operator: FaultyOperator, call: str) -> bool:
    """Whether an operator has read what has changed since the first call of a name was answered."""
    names = [it.call for it in operator.calls()]
    later = names[names.index(call) :] if call in names else []
    return ("get Pod" if call == "ungate Pod" else "get AgentRun") in later


def test_an_operator_that_wakes_while_another_is_at_it_asks_nobody(stage: Stage) -> None:
    """What it finds is a pod that it has not recorded, and that was ungated by the other, as the record says."""
    working = Life("working", "", (), steps=({"seconds": 5},))
    with opened_scene(stage) as scene, scene.operator("old") as old, scene.operator("new") as new:
        old.begin(Fault("create Pod", deed=Deed.STOP))
        scene.begin(working, "NonIdempotent")
        until(old.has_stopped, "the old operator is stopped")
        new.begin()
        until(scene.effects, "the tool is at work")

        old.wake()
        until(lambda: has_looked_again(old, "create Pod"), "the old operator has looked at the run again")
        until(lambda: is_over(scene), "the run is over")
        assert effects_of(scene, RUN) == ((1,), [])
        assert scene.space.all("approvals") == []


def test_two_operators_at_once_do_everything_once(stage: Stage) -> None:
    with opened_scene(stage) as scene, scene.operator("one") as one, scene.operator("other") as other:
        one.begin()
        other.begin()
        scene.begin(PLAIN, "NonIdempotent")
        runs = [RUN, *(f"{RUN}{number}" for number in range(3))]
        for run in runs[1:]:
            scene.start(PLAIN, "NonIdempotent", run)
        until(lambda: not scene.living(), "all have ended")
        assert {run: effects_of(scene, run) for run in runs} == {run: ((1, 1), []) for run in runs}
        assert {run: scene.doubts(run) for run in runs} == dict.fromkeys(runs, 0), "nobody was asked"
