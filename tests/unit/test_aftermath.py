"""What is tidied up: pods of steps that have ended, of runs that have ended, and the runs themselves."""

from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from agentruns.core.actions import Action, CollectPods, DeletePod, DeleteRun, ReleasePod, StopPod
from agentruns.core.aftermath import of_nobody
from agentruns.core.lifecycle import decide
from agentruns.core.records import Phase
from agentruns.core.resources import AgentRun

from tests.unit.builders import NOW, a_pod, a_run, a_step, a_tool, an_end, later, seen
from tests.unit.play import play


def test_a_finished_step_lets_go_of_its_pod_and_the_pod_stays_for_its_log() -> None:
    run = play(a_step("a"), a_step("b"))
    uid = run.step("a").pod_uid
    run.succeeds("a")
    assert run.actions(ReleasePod) == [ReleasePod(run.step("a").pod, uid)]
    assert uid in run.pods


def test_what_still_runs_five_seconds_after_its_result_is_stopped() -> None:
    run = play(a_step("a")).starts("a").says("a", 1).go()
    assert run.status.phase is Phase.SUCCEEDED
    assert not run.actions(StopPod)
    assert run.decision.wake_at == later(5)
    run.go(5)
    assert len(run.actions(StopPod)) == 1


def test_a_node_that_is_not_heard_of_for_hours_is_told_once() -> None:
    run = play(a_step("a")).starts("a").says("a", 1).go().go(5)
    uid = run.step("a").pod_uid
    run.pods[uid] = replace(run.pods[uid], deleting=True)
    run.done.clear()
    for _ in range(5):
        run.go(3600)
    assert (run.pods[uid].runs, run.done, run.decision.wake_at) == (True, [], None)


def test_pods_of_a_finished_run_are_collected_when_their_logs_were_there_for_an_hour() -> None:
    run = play(a_step("a")).succeeds("a")
    assert run.decision.wake_at == later(3600)
    assert not run.go(3599).actions(CollectPods)
    assert run.go(1).pods == {}
    assert run.decision.wake_at is None


def test_a_run_is_deleted_when_its_time_to_live_is_over() -> None:
    run = play(a_step("a"), idempotencyKey="k", ttlAfterFinished="30m").succeeds("a")
    assert run.decision.wake_at == later(1800)
    run.go(1800)
    assert run.actions(DeleteRun) == [DeleteRun(run.run.metadata.uid, "1")]
    assert run.decision.wake_at == later(3600)


def test_a_pod_that_nobody_recorded_is_deleted_while_it_is_gated() -> None:
    run = play(a_step("a"))
    recorded = run.pods[run.step("a").pod_uid]
    run.pods["stray"] = replace(recorded, uid="stray", name="stray", gated=True)
    run.go()
    assert [it.uid for it in run.actions(DeletePod)] == ["stray"]


@pytest.mark.parametrize(
    ("stray", "goes"),
    [
        ({"attempt": 1}, True),
        ({"attempt": 2}, False),
        ({"attempt": 1, "epoch": 1}, False),
        ({"attempt": 2, "deleting": True}, False),
    ],
)
def test_a_gated_pod_of_an_attempt_that_is_over_goes_and_takes_no_room(stray: dict[str, Any], goes: bool) -> None:
    """An operator with an old look makes it anew, once the one of that attempt has gone."""
    run = play(a_step("a")).fails("a", exit_code=75)
    assert (run.step("a").state, run.step("a").attempt) == ("Waiting", 1)
    made: dict[str, Any] = {"gated": True, "node": "", "phase": "Pending", "started_at": None, "end": None, **stray}
    run.pods["stray"] = replace(run.pods[run.step("a").pod_uid], uid="stray", name="stray", **made)
    run.done.clear()
    run.go()
    assert bool(run.done) is goes
    assert [it.uid for it in run.actions(DeletePod)] == ["stray"] * goes


def test_a_gated_pod_of_an_attempt_that_is_to_come_is_not_deleted_by_an_old_look() -> None:
    run = play(a_step("a")).starts("a").go(3)
    later_one: dict[str, Any] = {"gated": True, "node": "", "phase": "Pending", "started_at": None, "attempt": 2}
    run.pods["next"] = replace(run.pods[run.step("a").pod_uid], uid="next", name="next", **later_one)
    assert run.go().actions(DeletePod) == []


def test_a_pod_that_was_made_before_a_crash_is_kept_for_its_step_and_adopted() -> None:
    """The result that it was made after is not read again yet, so that its step cannot begin."""
    before = play(a_step("a"), a_step("b")).starts("a")
    after = copy(before)
    after.pods, after.results = dict(before.pods), dict(before.results)
    made = after.says("a", 1).go().step("b").pod_uid
    before.pods[made] = replace(after.pods[made], gated=True)
    assert not before.go().actions(DeletePod)
    assert before.says("a", 1).go().step("b").pod_uid == made


def test_a_pod_that_another_operator_has_recorded_since_is_held() -> None:
    """Watches tell of pods and runs apart: that it was ungated may be known before that it was recorded."""
    run = play(a_step("a"), a_step("b"))
    begun = replace(run.pods[run.step("a").pod_uid], uid="begun", name="begun", step="b", gated=False, node="node-1")
    run.pods["begun"] = begun
    run.go()
    assert (run.actions(ReleasePod), run.pods["begun"]) == ([], begun)


def test_a_pod_that_its_step_does_not_need_any_more_goes_with_the_end_of_the_run() -> None:
    run = play(a_step("a"), a_step("b", when="steps.a.output"))
    run.pods["early"] = replace(run.pods[run.step("a").pod_uid], uid="early", name="early", step="b", gated=True)
    assert not run.go().actions(DeletePod)
    run.succeeds("a", False)
    assert (run.status.phase, [it.uid for it in run.actions(DeletePod)]) == (Phase.SUCCEEDED, ["early"])


def test_a_deleted_run_stops_its_pods_and_lets_them_go() -> None:
    run = play(a_step("a"), a_step("b"), order="Graph").starts("a")
    metadata = run.run.metadata.model_copy(update={"deletion_timestamp": NOW})
    run.run = run.run.model_copy(update={"metadata": metadata})
    before = run.status
    run.go()
    assert {type(it) for it in run.done[-3:]} == {StopPod, ReleasePod}
    assert (run.status, run.decision.wake_at) == (before, None)


def test_a_finished_run_without_a_time_of_its_end_is_tidied_up_from_now_on() -> None:
    run = AgentRun.model_validate(a_run().model_dump() | {"status": {"phase": "Failed"}})
    assert decide(run, seen()).wake_at is None


DELETE, STOP, RELEASE = (DeletePod("p", "pod-1", "7"), StopPod("p", "pod-1"), ReleasePod("p", "pod-1"))


@pytest.mark.parametrize(
    ("pod", "actions"),
    [
        ({}, [STOP]),
        ({"started_at": None, "phase": "Pending"}, [STOP]),
        ({"gated": True, "node": "", "started_at": None, "phase": "Pending"}, [DELETE, RELEASE]),
        ({"node": "", "started_at": None, "phase": "Pending", "finalizers": ()}, [DELETE]),
        ({"end": an_end(), "phase": "Succeeded"}, [DELETE, RELEASE]),
        ({"end": an_end(), "phase": "Succeeded", "finalizers": ()}, [DELETE]),
        ({"phase": "Failed", "started_at": None}, [DELETE, RELEASE]),
        ({"deleting": True}, [RELEASE]),
        ({"deleting": True, "end": an_end()}, [RELEASE]),
        ({"deleting": True, "finalizers": ()}, []),
    ],
)
def test_a_pod_that_was_left_by_its_run_is_stopped_and_goes_once_it_has_ended(
    pod: dict[str, Any], actions: list[Action]
) -> None:
    assert of_nobody(a_pod(name="p", owner_name="", **pod)) == actions


@pytest.mark.parametrize(
    "so",
    [
        {"end": an_end(137)},
        {"end": an_end(137, known=False)},
        {"phase": "Failed", "reason": "OutOfcpu"},
        {"phase": "Failed", "disrupted": True},
    ],
)
def test_a_pod_in_doubt_that_is_being_deleted_is_let_go_of_once_it_has_ended(so: dict[str, Any]) -> None:
    """Else its namespace could not go as long as nobody has answered."""
    run = play(a_step("a"), tools={"a": a_tool(effect="NonIdempotent", approval="Never")}).starts("a")
    uid = run.step("a").pod_uid
    run.pods[uid] = replace(run.pods[uid], **so)
    assert run.go().states() == {"a": "InDoubt"}
    assert run.pods[uid].held
    run.pods[uid] = replace(run.pods[uid], deleting=True)
    assert run.go().pods == {}
    assert run.go().states() == {"a": "InDoubt"}
