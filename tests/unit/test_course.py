"""The course of a step's attempts: started, tried again, stopped in time, in doubt, and never two at once."""

from dataclasses import replace
from typing import Any

import pytest
from agentruns.core.actions import Create, DeletePod, ReleasePod, StopPod, Ungate
from agentruns.core.inputs import Reader
from agentruns.core.lifecycle import decide
from agentruns.core.look import Look, Moved
from agentruns.core.observed import POD_LIMIT_REACHED, NoResult, Refusal, ToolResult
from agentruns.core.questions import PodIsGone, Question, ResultOf, Unanswered
from agentruns.core.records import FINAL_STATES, Phase, StepState
from agentruns.core.steps import advance

from tests.unit.builders import a_run, a_step, a_tool, an_end, later
from tests.unit.play import Play, play, recorded

NO_ROOM = Refusal("limits.activePods of the installation, 1, is reached", True, POD_LIMIT_REACHED)
EFFECTS = ["ReadOnly", "Idempotent", "NonIdempotent"]


def one_step(**tool: Any) -> Play:
    """A run of one step, whose tool asks nobody."""
    return play(a_step("a"), tools={"a": a_tool(approval="Never", **tool)})


def pod_uids(run: Play) -> list[str]:
    """The pods that were ungated so far, in their order."""
    return [it.uid for it in run.actions(Ungate)]


# ----------------------------------------------------------------------------------------- trying again


@pytest.mark.parametrize("effect", EFFECTS)
def test_what_was_not_done_is_tried_again_with_the_same_key(effect: str) -> None:
    run = one_step(effect=effect).fails("a", exit_code=75)
    first = run.step("a")
    assert (run.states(), run.step("a").reason) == ({"a": "Waiting"}, "Transient")
    assert run.decision.wake_at == first.next_attempt_at == later(0.5)
    assert run.status.message == "a is Waiting: exit code 75: nothing was done, try again"
    run.go(0.5)
    second = run.step("a")
    assert (second.state, second.attempt, second.next_attempt_at) == ("Prepared", 2, None)
    assert second.pod != first.pod
    assert (second.idempotency_key, second.input_digest) == (first.idempotency_key, first.input_digest)
    assert second.started_at == first.started_at


@pytest.mark.parametrize("effect", EFFECTS)
def test_after_its_last_attempt_a_step_has_failed(effect: str) -> None:
    run = one_step(effect=effect, retry={"attempts": 2}).fails("a", exit_code=75).go(1).fails("a", exit_code=75)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "RetriesExhausted")
    assert "step a: attempt 2 of 2: exit code 75" in run.status.message
    assert len(pod_uids(run)) == 2


@pytest.mark.parametrize("effect", EFFECTS)
def test_what_never_will_be_done_is_not_tried_again(effect: str) -> None:
    run = one_step(effect=effect).fails("a", exit_code=65)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "StepFailed")


@pytest.mark.parametrize(("effect", "state"), [*zip(EFFECTS, ["Waiting", "Waiting", "InDoubt"], strict=True)])
def test_what_may_have_been_done_is_tried_again_only_where_that_is_safe(effect: str, state: str) -> None:
    assert one_step(effect=effect).fails("a", exit_code=3).states() == {"a": state}


def test_a_tool_says_how_long_to_wait() -> None:
    run = one_step().starts("a").says("a", error_class="Transient", message="429", retry_after=90.0).ends("a", 75).go()
    assert (run.step("a").message, run.decision.wake_at) == ("429", later(90))


def test_the_next_attempt_begins_only_when_this_one_is_closed() -> None:
    run = one_step().starts("a").says("a", error_class="Transient").go()
    assert (run.states(), run.decision.wake_at) == ({"a": "Prepared"}, later(5))
    run.go(5)
    assert run.actions(StopPod)
    assert run.decision.wake_at == later(35)
    run.ends("a", 137).go().go(1)
    assert run.step("a").attempt == 2


def test_a_result_that_cannot_be_used_is_not_asked_for_again() -> None:
    run = one_step(effect="NonIdempotent").starts("a").says("a", invalid="the result is no JSON").ends("a").go()
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InvalidResult")
    assert "the result is no JSON; the effect may have been done; done before: nothing" in run.status.message


def test_a_result_is_found_in_the_log_of_a_pod_that_was_not_followed() -> None:
    run = one_step().starts("a")
    record = run.step("a")
    run.answers[ResultOf(record.pod_uid)] = NoResult(complete=False)
    run.ends("a").go()
    assert (run.states(), run.step("a").reason) == ({"a": "Waiting"}, "ResultLost")


@pytest.mark.parametrize(("effect", "due"), [*zip(EFFECTS, (0.5, 0.5, 10 + 65), strict=True)])
def test_nothing_that_must_not_be_repeated_begins_beside_what_was_removed_by_force(effect: str, due: float) -> None:
    """It has said that nothing was done, but nobody saw it end."""
    run = one_step(effect=effect, timeout="10s").starts("a").says("a", error_class="Transient")
    record = run.step("a")
    run.pods.clear()
    run.answers[PodIsGone(record.pod, record.pod_uid)] = True
    assert run.go().step("a").next_attempt_at == run.decision.wake_at == later(due)
    assert run.go(due).step("a").attempt == 2


def test_a_pod_that_is_gone_leaves_its_outcome_unknown() -> None:
    run = one_step(effect="NonIdempotent")
    record = run.step("a")
    run.pods.clear()
    run.answers[PodIsGone(record.pod, record.pod_uid)] = False
    assert run.go().decision.wake_at == later(1)
    run.answers[PodIsGone(record.pod, record.pod_uid)] = True
    assert (run.go().states(), run.step("a").reason) == ({"a": "InDoubt"}, "PodLost")


# ---------------------------------------------------------------------------------------------- in time


def test_a_step_that_runs_too_long_is_stopped_and_says_so() -> None:
    run = one_step(timeout="30s").starts("a").go(29)
    assert (run.states(), run.decision.wake_at) == ({"a": "Running"}, later(30))
    run.go(1)
    assert [it.uid for it in run.actions(StopPod)] == [run.step("a").pod_uid]
    run.go(1).ends("a", 143).go()
    assert (run.states(), run.step("a").reason) == ({"a": "Waiting"}, "TimedOut")
    assert run.step("a").message == "it ran longer than its timeout of 30s"


def test_a_step_that_ran_too_long_says_so_though_its_last_phase_is_told_before_its_end() -> None:
    run = one_step(timeout="30s").starts("a").go(30).says("a", error_class="Unknown", message="exit code 143")
    run._sees("a", phase="Failed", reason="DeadlineExceeded").go(1)
    assert (run.states(), run.step("a").reason) == ({"a": "Waiting"}, "TimedOut")


def test_what_failed_in_time_is_not_said_to_have_timed_out_however_late_it_is_looked_at() -> None:
    run = one_step(timeout="30s").starts("a").ends("a", 3).go(100_000)
    assert run.step("a").reason == "Unknown"


def test_a_step_may_have_less_time_than_its_tool() -> None:
    run = play(a_step("a", timeout="10s"), tools={"a": a_tool(timeout="30s")}).starts("a").go(5)
    assert run.decision.wake_at == later(10)
    assert run.pod_manifest("a")["spec"]["activeDeadlineSeconds"] == 70


def test_a_very_short_step_is_stopped_before_it_is_recorded_as_running() -> None:
    assert one_step(timeout="1s").starts("a").go().decision.wake_at == later(1)


@pytest.mark.parametrize(("effect", "state"), [*zip(EFFECTS, ["Running", "Running", "InDoubt"], strict=True)])
def test_a_pod_that_does_not_answer_is_in_doubt_after_its_hard_end(effect: str, state: str) -> None:
    run = one_step(effect=effect, timeout="30s").starts("a").go(94.9)
    assert run.states() == {"a": "Running"}
    run.go(0.1)
    assert run.states() == {"a": state}
    if state == "InDoubt":
        assert run.step("a").reason == "NodeLost"
        assert "its node node-1 may be lost" in run.step("a").message


@pytest.mark.parametrize(("effect", "state"), [*zip(EFFECTS, ["Prepared", "Prepared", "InDoubt"], strict=True)])
def test_a_pod_of_which_nothing_was_ever_heard_is_in_doubt_after_its_hard_end(effect: str, state: str) -> None:
    run = one_step(effect=effect, timeout="30s")
    uid = run.step("a").pod_uid
    run.pods[uid] = replace(run.pods[uid], node="node-1")
    run.go(300)
    assert [it.uid for it in run.actions(StopPod)] == [uid]
    assert run.go(94.9).states() == {"a": "Prepared"}
    assert run.go(0.1).states() == {"a": state}
    assert (run.step("a").reason == "NodeLost") is (state == "InDoubt")


@pytest.mark.parametrize(
    ("effect", "said", "state", "reason"),
    [
        ("ReadOnly", {"error_class": "Transient"}, "Prepared", "Prepared"),
        ("Idempotent", {"error_class": "Transient"}, "Prepared", "Prepared"),
        ("NonIdempotent", {"error_class": "Transient", "message": "429"}, "InDoubt", "NodeLost"),
        *((effect, {"error_class": "Permanent"}, "Failed", "Permanent") for effect in EFFECTS),
        *((effect, {"invalid": "it is no JSON"}, "Failed", "InvalidResult") for effect in EFFECTS),
    ],
)
def test_what_was_said_by_a_pod_that_never_ends_is_enough_where_nothing_begins_after_it(
    effect: str, said: dict[str, Any], state: str, reason: str
) -> None:
    run = one_step(effect=effect, timeout="30s").starts("a").says("a", **said).go(94.9)
    assert run.states() == {"a": "Prepared"}
    run.go(0.1)
    assert (run.states(), run.step("a").reason) == ({"a": state}, reason)
    if state == "InDoubt":
        assert "it said Transient (429), but pod" in run.step("a").message
        assert run.ends("a", 75).decides("a", "RunAgain").states() == {"a": "Prepared"}


def test_a_pod_that_has_gone_at_its_hard_end_is_not_in_doubt_for_its_node() -> None:
    run = one_step(effect="NonIdempotent", timeout="30s").starts("a").says("a", error_class="Transient")
    run.answers[PodIsGone(run.step("a").pod, run.step("a").pod_uid)] = True
    assert run.go(95).states() == {"a": "Prepared"}
    run.pods.clear()
    assert run.go().states() == {"a": "Waiting"}


def test_before_a_pod_is_given_up_it_is_looked_at_and_its_log_is_read() -> None:
    lost = one_step(effect="NonIdempotent", timeout="30s").starts("a")
    pod, uid = lost.step("a").pod, lost.step("a").pod_uid
    lost.now = later(95)
    asked: list[Question] = []
    for found in (False, NoResult(complete=False)):
        with pytest.raises(Unanswered) as unanswered:
            decide(lost.run, lost.look())
        asked += unanswered.value.questions
        lost.answers[unanswered.value.questions[0]] = found
    assert asked == [PodIsGone(pod, uid), ResultOf(uid)]
    assert decide(lost.run, lost.look()).status.steps[0].reason == "NodeLost"
    for question, news in zip(asked, (True, ToolResult(later(95), 1)), strict=True):
        before, lost.answers[question] = lost.answers[question], news
        assert decide(lost.run, lost.look()).status.steps[0].state == "Running"  # what is new comes with the next look
        lost.answers[question] = before


def test_what_is_in_doubt_settles_itself_if_it_can_be_read_after_all() -> None:
    run = one_step(effect="NonIdempotent", timeout="30s").starts("a").go(95).says("a", {"n": 1}).go()
    assert (run.status.phase, run.step("a").output) == (Phase.SUCCEEDED, {"n": 1})


def test_it_runs_again_only_when_the_lost_pod_is_closed() -> None:
    run = one_step(effect="NonIdempotent", timeout="30s").starts("a").go(95).decides("a", "RunAgain")
    assert (run.states(), run.decision.wake_at) == ({"a": "InDoubt"}, later(110))
    run.ends("a", 137).go()
    assert (run.states(), run.step("a").epoch) == ({"a": "Prepared"}, 1)


# --------------------------------------------------------------------------------------- never started


def test_why_a_pod_does_not_start_is_said_and_it_is_given_up_in_the_end() -> None:
    run = one_step(retry={"attempts": 1})
    uid = run.step("a").pod_uid
    pulling: dict[str, Any] = {"waiting_reason": "ErrImagePull", "waiting_message": "no such image"}
    run.pods[uid] = replace(run.pods[uid], node="node-1", **pulling)
    run.go()
    assert (run.step("a").reason, run.status.message) == ("NotStarted", "a is Prepared: ErrImagePull: no such image")
    assert run.decision.wake_at == later(300)
    run.go(300)
    assert [it.uid for it in run.actions(StopPod)] == [uid]
    lost = an_end(137, known=False, created=False)
    run.pods[uid] = replace(run.pods[uid], phase="Failed", reason="DeadlineExceeded", waiting_reason="", end=lost)
    run.go()
    assert run.status.reason == "RetriesExhausted"
    assert run.status.message.startswith("step a: attempt 1 of 1: ErrImagePull: no such image")


def test_a_pod_that_no_node_takes_is_taken_back() -> None:
    run = one_step()
    first = run.step("a").pod_uid
    assert run.decision.wake_at == later(300)
    run.go(300)
    assert [it.uid for it in run.actions(DeletePod)] == [first]
    assert (run.states(), run.step("a").reason) == ({"a": "Waiting"}, "NeverStarted")


def kept_behind_its_gate(seconds: float) -> Play:
    """A run whose operator came back so many seconds after it had recorded a pod, and not yet let it go."""
    run = one_step(retry={"attempts": 1})
    run.pods = {uid: replace(pod, gated=True) for uid, pod in run.pods.items()}
    run.done.clear()
    return run.go(seconds)


def test_a_pod_is_let_go_as_long_as_there_is_time_for_it_to_begin() -> None:
    run = kept_behind_its_gate(269)
    assert (len(run.actions(Ungate)), run.actions(DeletePod)) == (1, [])


def test_a_pod_whose_time_to_begin_has_passed_behind_its_gate_is_replaced_and_uses_up_no_attempt() -> None:
    run = kept_behind_its_gate(270)
    [first] = run.actions(DeletePod)
    assert ("NeverStarted", 0) in [(it.reason, it.attempt) for status in run.recorded for it in status.steps]
    assert (run.states(), run.step("a").attempt) == ({"a": "Prepared"}, 1)
    assert [it.uid for it in run.actions(Ungate)] == [run.step("a").pod_uid] != [first.uid]
    assert run.succeeds("a").status.phase is Phase.SUCCEEDED


def test_a_pod_that_is_being_deleted_is_waited_for() -> None:
    run = one_step()
    uid = run.step("a").pod_uid
    run.pods[uid] = replace(run.pods[uid], node="node-1", deleting=True)
    assert run.go(300).decision.wake_at == later(330)
    assert run.states() == {"a": "Prepared"}


def test_a_quota_does_not_use_up_attempts() -> None:
    run = one_step().fails("a", exit_code=75)
    run.refused["Pod"] = Refusal("exceeded quota", for_now=True, reason="QuotaExceeded")
    run.go(1).go(10).go(10)
    assert (run.states(), run.step("a").reason, run.step("a").attempt) == ({"a": "Waiting"}, "QuotaExceeded", 1)
    run.refused.clear()
    assert run.go(10).step("a").attempt == 2


def test_a_step_without_room_for_its_pod_waits_to_be_told_and_nothing_is_written_meanwhile() -> None:
    run = Play(a_run(a_step("a")), refused={"Pod": NO_ROOM}).go()
    record, status = run.step("a"), run.status
    assert (record.state, record.reason, record.attempt) == (StepState.WAITING, POD_LIMIT_REACHED, 0)
    assert (run.status.phase, run.pods, run.decision.wake_at) == (Phase.RUNNING, {}, None)
    assert run.go(10).go(3600).status == status
    run.refused.clear()
    assert (run.go().step("a").state, run.step("a").attempt) == (StepState.PREPARED, 1)


def test_room_is_waited_for_between_attempts_too_and_uses_up_none() -> None:
    run = one_step().fails("a", exit_code=75)
    run.refused["Pod"] = NO_ROOM
    run.go(1).go(10)
    assert (run.step("a").reason, run.step("a").attempt, run.step("a").next_attempt_at) == (POD_LIMIT_REACHED, 1, None)
    run.refused.clear()
    assert run.go().step("a").attempt == 2


def test_a_run_that_waits_for_room_is_cancelled_and_ended_in_time_like_any_other() -> None:
    for change in ({"desiredState": "Cancelled"}, {}):
        run = Play(a_run(a_step("a"), deadline="1h"), refused={"Pod": NO_ROOM}).go()
        assert run.decision.wake_at == later(3600)
        run.wants(**change).go(0 if change else 3600)
        assert run.status.phase is (Phase.CANCELLED if change else Phase.FAILED)
        assert run.states() == {"a": "Cancelled"}


def test_no_more_steps_wait_for_room_than_the_run_may_have_in_flight() -> None:
    steps = [a_step(f"s{n}") for n in range(30)]
    run = Play(a_run(*steps, order="Graph", parallelism=4), refused={"Pod": NO_ROOM}).go()
    assert run.states() == dict.fromkeys(("s0", "s1", "s2", "s3"), "Waiting")


def test_an_attempt_counts_once_its_pod_is_there() -> None:
    """What keeps its pod from being made has the pass fail, and may do so again and again."""
    run = one_step().fails("a", exit_code=75)
    run.now = later(1)
    found = decide(run.run, run.look())
    assert [type(it) for it in found.preparations] == [Create]
    assert found.status.steps == run.status.steps


def test_a_pod_that_is_just_going_does_not_use_up_attempts() -> None:
    run = one_step().fails("a", exit_code=75)
    again = run.go(1).step("a").pod_uid
    run.run = run.run.model_copy(update={"status": one_step().fails("a", exit_code=75).status})
    run.pods[again] = replace(run.pods[again], gated=True, deleting=True)
    run.go().go(1).go(1)
    assert (run.states(), run.step("a").attempt) == ({"a": "Prepared"}, 2)


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_a_step_that_has_ended_moves_no_more(state: StepState) -> None:
    run = one_step()
    record = run.step("a").model_copy(update={"state": state})
    look = Look(Reader(run.run, {}, run.look()), run.run.spec.steps[0], record, run.status.tools[0], run.tools["a"], 0)
    assert advance(look) == Moved(record)


# ------------------------------------------------------------------------------- a pod that is in the way


def prepared_before(**changes: Any) -> Play:
    """A run that has lost the record of the pod that it had prepared, which then changed."""
    run = one_step(effect="NonIdempotent")
    before = run.run
    uid = run.step("a").pod_uid
    run.run = before.model_copy(update={"status": before.status.model_copy(update={"steps": ()})})
    run.done.clear()
    run.pods[uid] = replace(run.pods[uid], gated=True, **changes)
    return run


def test_a_pod_prepared_before_is_adopted() -> None:
    run = prepared_before().go()
    assert run.states() == {"a": "Prepared"}
    assert (len(run.pods), run.actions(DeletePod)) == (1, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"owner_uid": "an-earlier-run"},
        {"input_digest": "sha256:other"},
        {"revision": "of-the-tool-before-it-was-edited"},
        {"attempt": 2},
        {"epoch": 1},
        {"not_after": later(100)},
    ],
)
def test_a_gated_pod_that_does_not_fit_is_replaced(changes: dict[str, Any]) -> None:
    run = prepared_before(**changes, finalizers=())
    run.go()
    assert len(run.actions(DeletePod)) == 1
    assert run.states() == {"a": "Prepared"}
    assert next(iter(run.pods.values())).attempt == 1


def test_a_pod_deleted_behind_its_gate_is_recorded_before_it_is_let_go_of() -> None:
    """Another operator may have recorded it: then this record is refused, and the pod goes on saying that it never ran.

    Actions come after the record.
    """
    run = prepared_before(deleting=True)
    (uid,) = run.pods
    decision = decide(run.run, run.look())
    step = decision.status.steps[0]
    assert (step.state, step.reason, step.pod_uid, step.attempt) == ("Waiting", "NeverStarted", uid, 0)
    assert decision.actions == (ReleasePod(step.pod, uid),)
    assert (run.go().go(1).states(), run.step("a").attempt, uid in run.pods) == ({"a": "Prepared"}, 1, False)


def test_a_pod_that_is_recorded_as_over_is_not_adopted_from_an_old_look_at_it() -> None:
    run = prepared_before(deleting=True)
    (uid,) = run.pods
    run.run = recorded(run.run, decide(run.run, run.look()).status)
    run.pods[uid] = replace(run.pods[uid], deleting=False)
    run.go().go(1)
    assert (run.actions(DeletePod)[0].uid, run.states()) == (uid, {"a": "Prepared"})
    assert run.step("a").pod_uid != uid


def test_a_pod_on_its_way_out_that_somebody_else_let_go_is_waited_for() -> None:
    run = prepared_before(deleting=True)
    run.pods = {uid: replace(pod, gated=False) for uid, pod in run.pods.items()}
    run._pass()
    assert run.states() == {}
    assert run.decision.wake_at == later(1)


def test_a_pod_that_somebody_else_started_is_a_persons_matter() -> None:
    run = prepared_before()
    run.pods = {uid: replace(pod, gated=False, node="node-1") for uid, pod in run.pods.items()}
    run.go()
    assert (run.states(), run.step("a").reason) == ({"a": "InDoubt"}, "ForeignPod")
    assert run.actions(Ungate) == []
    assert run.step("a").approval


def test_a_policy_that_vanished_is_there_again_before_a_pod_is_let_go() -> None:
    run = prepared_before()
    run.policies = frozenset()
    run.go()
    assert run.policies == {"agentrun-sandboxes"}
    assert run.states() == {"a": "Prepared"}
