"""A run from its first step to its end: phases, order, pausing, cancelling and its deadline."""

from dataclasses import replace
from datetime import timedelta

import pytest
from agentruns.core.actions import DeletePod, StopPod, Ungate
from agentruns.core.observed import Refusal
from agentruns.core.questions import PodIsGone
from agentruns.core.records import Phase

from tests.unit.builders import a_step, a_tool, later
from tests.unit.play import play

# ------------------------------------------------------------------------------------------- the plain course


def test_a_run_goes_from_its_first_step_to_its_output() -> None:
    run = play(
        a_step("lookup", args={"order": "${run.input.order}"}),
        a_step("refund", args={"amount": "${steps.lookup.output.total}"}),
        input={"order": "4711"},
        output={"receipt": "${steps.refund.output.receipt}", "state": "${steps.lookup.state}"},
    )
    assert (run.status.phase, run.status.progress) == (Phase.RUNNING, "0/2")
    assert run.states() == {"lookup": "Prepared"}

    run.succeeds("lookup", {"total": 12.5})
    assert (run.status.phase, run.status.progress) == (Phase.RUNNING, "1/2")
    assert run.states() == {"lookup": "Succeeded", "refund": "Prepared"}
    assert '"args":{"amount":12.5}' in run.input_of("refund")

    run.succeeds("refund", {"receipt": "R-99"})
    assert (run.status.phase, run.status.reason, run.status.progress) == (Phase.SUCCEEDED, "Completed", "2/2")
    assert run.status.output == {"receipt": "R-99", "state": "Succeeded"}
    assert run.status.finished_at == run.now


def test_only_a_recorded_pod_is_let_go_and_once() -> None:
    run = play(a_step("lookup"))
    record = run.step("lookup")
    assert run.done == [Ungate(record.pod, record.pod_uid)]
    assert record.pod_uid in run.pods
    run.starts("lookup").go(1).go(10)
    assert len(run.actions(Ungate)) == 1


def test_a_gate_that_was_not_taken_off_is_taken_off_later() -> None:
    run = play(a_step("lookup"))
    uid = run.step("lookup").pod_uid
    run.pods[uid] = replace(run.pods[uid], gated=True)
    run.go()
    assert [it.uid for it in run.actions(Ungate)] == [uid, uid]


def test_a_step_is_recorded_as_running_only_if_it_takes_a_while() -> None:
    run = play(a_step("lookup")).starts("lookup").go()
    assert run.states() == {"lookup": "Prepared"}
    assert run.decision.wake_at == later(2)
    run.go(2)
    assert run.states() == {"lookup": "Running"}
    assert run.decision.wake_at == later(300)
    assert run.step("lookup").image == a_tool().image


def test_the_conditions_say_where_a_run_is() -> None:
    run = play(a_step("lookup"))
    assert run.condition("Finished") == ("False", "InProgress")
    assert run.condition("Succeeded") == ("Unknown", "InProgress")
    assert run.condition("Reconciling") == ("True", "StepsInFlight")
    run.succeeds("lookup")
    assert run.condition("Finished") == ("True", "Succeeded")
    assert run.condition("Succeeded") == ("True", "Completed")
    assert run.condition("Reconciling") == ("False", "Completed")
    assert run.condition("Stalled") == ("False", "NotStalled")


# ----------------------------------------------------------------------------------------------------- order


def test_a_diamond_runs_its_sides_together() -> None:
    run = play(
        a_step("top"),
        a_step("left", needs=["top"]),
        a_step("right", needs=["top"]),
        a_step("bottom", needs=["left", "right"], args={"sum": "${steps.left.output + steps.right.output}"}),
        order="Graph",
        output={"sum": "${steps.bottom.output}"},
    )
    assert run.states() == {"top": "Prepared"}
    run.succeeds("top")
    assert run.states() == {"top": "Succeeded", "left": "Prepared", "right": "Prepared"}
    run.succeeds("right", 2)
    assert "bottom" not in run.states()
    run.succeeds("left", 1)
    assert '"args":{"sum":3}' in run.input_of("bottom")
    run.succeeds("bottom", 3)
    assert run.status.output == {"sum": 3}


def test_no_more_steps_are_in_flight_than_the_run_allows() -> None:
    run = play(*(a_step(f"s{n}") for n in range(5)), order="Graph", parallelism=2)
    assert run.states() == {"s0": "Prepared", "s1": "Prepared"}
    run.succeeds("s1")
    assert run.states() == {"s0": "Prepared", "s1": "Succeeded", "s2": "Prepared"}


def test_questions_take_no_room() -> None:
    run = play(
        a_step("a", approval="Always"), a_step("b", approval="Always"), a_step("c"), order="Graph", parallelism=1
    )
    assert run.states() == {"a": "AwaitingApproval", "b": "AwaitingApproval", "c": "Prepared"}


@pytest.mark.parametrize(("lost", "states"), [(True, "Prepared"), (False, "Skipped")])
def test_when_decides_whether_a_step_runs(lost: bool, states: str) -> None:
    run = play(
        a_step("lookup"),
        a_step("refund", when="steps.lookup.output.lost"),
        a_step("note", args={"was": "${steps.refund.state}", "got": "${steps.refund.output}"}),
    ).succeeds("lookup", {"lost": lost})
    assert run.states()["refund"] == states
    if not lost:
        assert '"args":{"was":"Skipped","got":null}' in run.input_of("note")
        assert run.step("refund").reason == "ConditionFalse"


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("steps.lookup.output.n", "when: must be true or false, and is: number"),
        ("steps.lookup.output.m", "when: there is no 'm' in steps.lookup.output, which has: n"),
    ],
)
def test_a_when_that_is_no_truth_ends_the_run_and_says_so(when: str, said: str) -> None:
    run = play(a_step("lookup"), a_step("refund", when=when)).succeeds("lookup", {"n": 1})
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InvalidSpec")
    assert said in run.status.message


def test_a_failure_that_may_be_is_seen_by_those_that_need_it() -> None:
    run = play(
        a_step("a", onFailure="Continue"),
        a_step("b", args={"state": "${steps.a.state}", "output": "${steps.a.output}"}),
    ).fails("a")
    assert '"args":{"state":"Failed","output":null}' in run.input_of("b")
    run.succeeds("b")
    assert (run.status.phase, run.status.progress) == (Phase.SUCCEEDED, "2/2")


def test_a_failure_lets_siblings_finish_and_starts_nothing() -> None:
    run = play(a_step("a"), a_step("b"), a_step("c"), a_step("d", needs=["a"]), order="Graph", parallelism=2).fails("a")
    assert run.status.phase is Phase.RUNNING
    assert run.status.message.startswith("ending: step a: exit code 65")
    assert run.states() == {"a": "Failed", "b": "Prepared"}
    run.succeeds("b", 1)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "StepFailed")
    assert run.states() == {"a": "Failed", "b": "Succeeded"}
    assert run.status.message.endswith("done before: b")
    assert run.condition("Stalled") == ("True", "StepFailed")


def test_a_sibling_that_would_be_tried_again_is_not() -> None:
    run = play(a_step("a"), a_step("b"), order="Graph").fails("a").fails("b", exit_code=75)
    assert run.states() == {"a": "Failed", "b": "Cancelled"}
    assert run.step("b").message.startswith("exit code 75")


# ---------------------------------------------------------------------------------- pausing and cancelling


def test_a_paused_run_starts_nothing_and_lets_finish_what_is_in_flight() -> None:
    run = play(a_step("a"), a_step("b")).wants(desiredState="Paused")
    assert (run.status.phase, run.status.reason) == (Phase.PAUSED, "PausedByUser")
    run.succeeds("a")
    assert run.states() == {"a": "Succeeded"}
    assert run.decision.wake_at is None
    run.wants(desiredState="Running")
    assert run.states() == {"a": "Succeeded", "b": "Prepared"}


def test_a_run_that_is_born_paused_has_not_begun() -> None:
    run = play(a_step("a"), desiredState="Paused")
    assert (run.status.phase, run.status.started_at, run.pods) == (Phase.PAUSED, None, {})
    assert run.wants(desiredState="Running").states() == {"a": "Prepared"}


def test_a_paused_run_whose_last_step_ends_has_succeeded() -> None:
    assert play(a_step("a")).wants(desiredState="Paused").succeeds("a").status.phase is Phase.SUCCEEDED


def test_cancelling_stops_what_runs_and_says_what_was_done() -> None:
    run = play(a_step("a"), a_step("b"), a_step("c")).succeeds("a").starts("b").wants(desiredState="Cancelled")
    assert (run.status.phase, run.status.reason) == (Phase.RUNNING, "CancelledByUser")
    assert run.actions(StopPod)[-1].uid == run.step("b").pod_uid
    run.ends("b", 143, reason="Error").go()
    assert (run.status.phase, run.status.reason) == (Phase.CANCELLED, "CancelledByUser")
    assert run.states() == {"a": "Succeeded", "b": "Cancelled"}
    assert run.status.message == "desiredState is Cancelled; done before: a"


def test_cancelling_takes_back_what_no_node_has() -> None:
    run = play(a_step("a")).wants(desiredState="Cancelled")
    assert run.actions(DeletePod)
    assert run.states() == {"a": "Cancelled"}
    assert run.status.phase is Phase.CANCELLED
    assert run.pods == {}


def test_cancelling_waits_for_news_of_a_pod_that_cannot_be_seen() -> None:
    run = play(a_step("a"))
    run.pods.clear()
    run.answers[PodIsGone(run.step("a").pod, run.step("a").pod_uid)] = False
    run.wants(desiredState="Cancelled")
    assert run.status.phase is Phase.RUNNING
    assert run.decision.wake_at == later(1)


def test_a_run_that_succeeds_names_the_failures_that_it_let_pass() -> None:
    tools = {"b": a_tool(effect="NonIdempotent", approval="Never")}
    run = play(a_step("a", onFailure="Continue"), a_step("b", onFailure="Continue"), a_step("c"), tools=tools)
    run.fails("a", 65).starts("b").says("b", invalid="no JSON").ends("b").go().succeeds("c", 1)
    assert (run.status.phase, run.status.progress) == (Phase.SUCCEEDED, "3/3")
    assert run.status.message == (
        "all steps have ended; failed, which the run lets pass: a, b; may have been done all the same: b"
    )


def test_what_is_in_doubt_is_named_before_all_that_was_done() -> None:
    steps = [a_step(f"a_step_with_a_long_name_{n:02}") | {"tool": "lookup"} for n in range(60)]
    run = play(*steps, a_step("pay"), tools={"pay": a_tool(effect="NonIdempotent", approval="Never")})
    for step in steps:
        run.succeeds(step["name"], 1)
    run.fails("pay", 3).wants(desiredState="Cancelled")
    assert run.status.message.startswith("desiredState is Cancelled; IN DOUBT, may have been done, and nobody is asked")
    assert run.status.message.endswith(", a_step_with_a_long_name_09 and 50 more")


def test_what_a_tool_said_counts_though_its_pod_never_ends() -> None:
    run = play(a_step("a"), tools={"a": a_tool(effect="NonIdempotent", approval="Never", timeout="30s")}).starts("a")
    run.says("a", error_class="Permanent", message="no such order").wants(desiredState="Cancelled").go(95)
    assert (run.status.phase, run.step("a").reason, run.step("a").effect_state) == (Phase.CANCELLED, "Permanent", "")


def test_a_cancelled_run_does_not_wait_for_room_for_a_result() -> None:
    run = play(a_step("a")).starts("a")
    run.refused["ConfigMap"] = Refusal("exceeded quota", for_now=True)
    run.says("a", "x" * 5000).go(600)
    assert (run.status.phase, run.status.reason) == (Phase.RUNNING, "CreationRefused")
    run.wants(desiredState="Cancelled").ends("a").go()
    assert (run.status.phase, run.step("a").reason) == (Phase.CANCELLED, "InvalidResult")
    assert run.step("a").message == "the result cannot be stored: exceeded quota"


def test_a_run_that_fails_waits_for_room_for_a_result_that_it_lets_finish() -> None:
    run = play(a_step("a"), a_step("b"), order="Graph").starts("a")
    run.refused["ConfigMap"] = Refusal("exceeded quota", for_now=True, reason="QuotaExceeded")
    run.fails("b", 65).says("a", "x" * 5000).ends("a").go()
    assert (run.status.phase, run.status.reason, run.states()["a"]) == (Phase.RUNNING, "QuotaExceeded", "Prepared")
    run.refused.clear()
    assert run.go(10).status.phase is Phase.FAILED
    assert run.states() == {"a": "Succeeded", "b": "Failed"}


def test_what_succeeds_while_it_is_cancelled_has_succeeded() -> None:
    run = play(a_step("a"), a_step("b")).starts("a").says("a", 1).wants(desiredState="Cancelled")
    assert run.states() == {"a": "Succeeded"}
    assert run.status.message == "desiredState is Cancelled; done before: a"


def test_a_cancelled_run_names_what_may_have_been_done() -> None:
    tools = {"pay": a_tool(effect="NonIdempotent", approval="Never")}
    run = play(a_step("pay"), tools=tools).starts("pay").wants(desiredState="Cancelled").ends("pay", 137).go()
    assert run.states() == {"pay": "InDoubt"}
    assert run.status.phase is Phase.CANCELLED
    assert "IN DOUBT, may have been done, and nobody is asked any more: pay" in run.status.message


def test_an_attempt_that_a_cancelled_run_stopped_may_have_been_done() -> None:
    tools = {"a": a_tool(effect="Idempotent", approval="Never")}
    run = play(a_step("a"), tools=tools).starts("a").wants(desiredState="Cancelled").ends("a", 137).go()
    record = run.step("a")
    assert (record.state, record.reason, record.effect_state) == ("Cancelled", "NotRetried", "MayBeDone")
    assert run.status.message == "desiredState is Cancelled; may have been done: a; done before: nothing"


@pytest.mark.parametrize(
    ("effect", "state", "reason"),
    [
        ("ReadOnly", "Cancelled", "RunEnded"),
        ("Idempotent", "Cancelled", "NotRetried"),
        ("NonIdempotent", "InDoubt", "NodeLost"),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_cancelled_run_waits_for_a_lost_node_until_the_hard_end(
    effect: str, state: str, reason: str, *, begun: bool
) -> None:
    """Nothing of it is tried again, so there is nothing to wait for; what may have been done is said."""
    run = play(a_step("a"), tools={"a": a_tool(effect=effect, approval="Never", timeout="30s")})
    if begun:
        run.starts("a")
    else:
        run.pods = {uid: replace(pod, node="node-1") for uid, pod in run.pods.items()}
    run.wants(desiredState="Cancelled").go(94.9 if begun else 394.9)
    assert run.status.phase is Phase.RUNNING
    run.go(0.1)
    assert (run.status.phase, run.step("a").state, run.step("a").reason) == (Phase.CANCELLED, state, reason)
    assert "its node node-1 may be lost (while its run was being ended)" in run.step("a").message
    assert run.step("a").effect_state == ("" if effect == "ReadOnly" else "MayBeDone")


def test_a_pod_that_no_node_has_is_never_taken_for_one_of_a_lost_node() -> None:
    run = play(a_step("a"), tools={"a": a_tool(effect="NonIdempotent", approval="Never", timeout="30s")})
    run.now = later(100_000)
    run.wants(desiredState="Cancelled")
    assert (run.status.phase, run.step("a").state, run.step("a").reason) == (Phase.CANCELLED, "Cancelled", "RunEnded")


@pytest.mark.parametrize(
    ("effect", "exit_code", "reason"),
    [("Idempotent", 3, "NotRetried"), ("Idempotent", 75, "RunEnded"), ("ReadOnly", 3, "RunEnded")],
)
def test_what_is_not_tried_again_and_may_have_been_done_is_named(effect: str, exit_code: int, reason: str) -> None:
    run = play(a_step("a"), tools={"a": a_tool(effect=effect, approval="Never")}).fails("a", exit_code=exit_code)
    run.wants(desiredState="Cancelled")
    assert (run.step("a").state, run.step("a").reason) == ("Cancelled", reason)
    assert ("may have been done: a" in run.status.message) == (reason == "NotRetried")


def test_a_step_may_stay_in_doubt_in_a_cancelled_run() -> None:
    tools = {"pay": a_tool(effect="NonIdempotent", approval="Never")}
    run = play(a_step("pay"), a_step("note"), tools=tools).fails("pay", exit_code=137).wants(desiredState="Cancelled")
    assert (run.states(), run.status.phase) == ({"pay": "InDoubt"}, Phase.CANCELLED)
    assert run.approval_states() == ["Superseded"]


def test_a_run_that_is_cancelled_before_it_began_is_over_at_once() -> None:
    run = play(a_step("a"), desiredState="Cancelled")
    assert (run.status.phase, run.status.progress, run.pods) == (Phase.CANCELLED, "0/1", {})


def test_a_question_nobody_needs_answered_is_withdrawn() -> None:
    run = play(a_step("a", approval="Always")).wants(desiredState="Cancelled")
    assert run.states() == {"a": "Cancelled"}
    assert run.approval_states() == ["Superseded"]


# ------------------------------------------------------------------------------------------- its deadline


def test_a_deadline_ends_what_is_in_flight() -> None:
    run = play(a_step("a"), a_step("b"), deadline="1m")
    assert run.decision.wake_at == later(60)
    run.starts("a").go(59)
    assert run.status.phase is Phase.RUNNING
    run.go(1)
    assert run.actions(StopPod)
    assert run.status.reason == "DeadlineExceeded"
    run.ends("a", 143).go()
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "DeadlineExceeded")
    assert run.status.message == "its deadline of 60s of active time is over; done before: nothing"


def test_waiting_for_people_and_being_paused_do_not_count() -> None:
    run = play(a_step("a", approval="Always"), a_step("b"), deadline="1m")
    assert run.decision.wake_at is None
    run.go(100_000)
    run.decides("a", "Approve")
    assert run.status.phase is Phase.RUNNING
    run.go(20).wants(desiredState="Paused")
    assert (run.status.active_seconds, run.status.active_since) == (20, None)
    run.succeeds("a").go(100_000).wants(desiredState="Running")
    assert run.decision.wake_at == run.now + timedelta(seconds=40)


def test_nothing_ticks() -> None:
    run = play(a_step("a"), deadline="1h").starts("a").go(10)
    before = run.status
    assert run.go(100).status == before
