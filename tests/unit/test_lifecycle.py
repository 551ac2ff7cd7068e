"""A run from its first look to its end: phases, order, pausing, cancelling, its deadline and what is tidied up."""

from dataclasses import replace
from datetime import timedelta

import pytest
from agentruns.core.actions import CollectPods, DeletePod, DeleteRun, ReleasePod, StopPod, Ungate
from agentruns.core.lifecycle import decide
from agentruns.core.observed import PodIsGone, Refusal
from agentruns.core.resources import AgentRun, Phase, RunStatus

from tests.unit.builders import NOW, a_run, a_step, a_tool, later, seen
from tests.unit.play import Play, play

QUOTA = Refusal("pods is forbidden: exceeded quota", for_now=True)
FORBIDDEN = Refusal("violates PodSecurity", for_now=False)


def condition(run: Play, name: str) -> tuple[str, str]:
    """Status and reason of one of the run's conditions."""
    return next((it.status, it.reason) for it in run.status.conditions if it.type == name)


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
    assert condition(run, "Finished") == ("False", "InProgress")
    assert condition(run, "Succeeded") == ("Unknown", "InProgress")
    assert condition(run, "Reconciling") == ("True", "StepsInFlight")
    run.succeeds("lookup")
    assert condition(run, "Finished") == ("True", "Succeeded")
    assert condition(run, "Succeeded") == ("True", "Completed")
    assert condition(run, "Reconciling") == ("False", "Completed")
    assert condition(run, "Stalled") == ("False", "NotStalled")


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
        ("steps.lookup.output.n", "when: must be true or false, and is a int"),
        ("steps.lookup.output.m", "when: there is no 'm' in the data"),
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
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "Permanent")
    assert run.states() == {"a": "Failed", "b": "Succeeded"}
    assert run.status.message.endswith("done before: b")
    assert condition(run, "Stalled") == ("True", "Permanent")


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


def test_what_succeeds_while_it_is_cancelled_has_succeeded() -> None:
    run = play(a_step("a"), a_step("b")).starts("a").says("a", 1).wants(desiredState="Cancelled")
    assert run.states() == {"a": "Succeeded"}
    assert run.status.message == "desiredState is Cancelled; done before: a"


def test_a_cancelled_run_names_what_may_have_been_done() -> None:
    tools = {"pay": a_tool(effect="NonIdempotent", approval="Never")}
    run = play(a_step("pay"), tools=tools).starts("pay").wants(desiredState="Cancelled").ends("pay", 137).go()
    assert run.states() == {"pay": "InDoubt"}
    assert run.status.phase is Phase.CANCELLED
    assert "IN DOUBT, it may have been done: pay" in run.status.message


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
    assert run.status.message == "its 0:01:00 of active time are over; done before: nothing"


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


# -------------------------------------------------------------------------------------- what is tidied up


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
    assert run.actions(StopPod)


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


def test_a_deleted_run_stops_its_pods_and_lets_them_go() -> None:
    run = play(a_step("a"), a_step("b"), order="Graph").starts("a")
    metadata = run.run.metadata.model_copy(update={"deletion_timestamp": NOW})
    run.run = run.run.model_copy(update={"metadata": metadata})
    before = run.status
    run.go()
    assert {type(it) for it in run.done[-3:]} == {StopPod, ReleasePod}
    assert run.status == before
    assert run.decision.wake_at == later(30)


# ------------------------------------------------------------------------------------------ its beginning


def test_a_tool_that_is_not_there_yet_is_waited_for_two_minutes() -> None:
    run = Play(a_run(a_step("lookup")))
    tool = run.tools.pop("lookup")
    run.go(100)
    assert (run.status.phase, run.status.reason) == (Phase.PENDING, "WaitingForTool")
    assert run.status.message == "there is no Tool 'lookup' in namespace shop; apply it"
    assert condition(run, "Stalled") == ("True", "WaitingForTool")
    assert run.decision.wake_at == later(220)
    run.tools["lookup"] = tool
    assert run.go(119).states() == {"lookup": "Prepared"}


def test_a_tool_that_does_not_come_ends_the_run() -> None:
    run = Play(a_run(a_step("lookup")))
    run.tools.clear()
    assert run.go().go(119.9).status.phase is Phase.PENDING
    run.go(0.1)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "ToolNotFound")
    assert run.status.message.endswith("it was waited for 120 s")


def test_the_time_a_run_was_paused_is_no_time_of_waiting_for_a_tool() -> None:
    run = Play(a_run(a_step("lookup"), desiredState="Paused"))
    run.tools.clear()
    run.go().go(100_000).wants(desiredState="Running")
    assert run.status.reason == "WaitingForTool"


def test_what_a_tool_says_later_changes_nothing_about_a_run() -> None:
    run = play(a_step("a"), a_step("b", tool="a"))
    run.tools["a"] = a_tool(image="registry.example/other@sha256:" + "f" * 64)
    run.succeeds("a")
    assert run.pod_manifest("b")["spec"]["containers"][0]["image"] == a_tool().image


@pytest.mark.parametrize("kind", ["ControllerRevision", "NetworkPolicy", "Pod", "Approval"])
def test_what_a_quota_refuses_is_waited_for_and_said(kind: str) -> None:
    run = Play(a_run(a_step("a", approval="Always" if kind == "Approval" else "Inherit")), refused={kind: QUOTA}).go()
    assert run.status.phase in (Phase.PENDING, Phase.RUNNING, Phase.AWAITING_APPROVAL)
    assert QUOTA.message in run.status.message
    assert run.decision.wake_at == later(10)
    assert not run.actions(Ungate)
    run.refused.clear()
    run.go(10)
    assert run.states()["a"] in ("Prepared", "AwaitingApproval")
    assert QUOTA.message not in run.status.message


@pytest.mark.parametrize("kind", ["ControllerRevision", "Pod"])
def test_what_will_never_be_accepted_ends_the_run_with_the_reason(kind: str) -> None:
    run = Play(a_run(a_step("a")), refused={kind: FORBIDDEN}).go()
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InvalidSpec")
    assert FORBIDDEN.message in run.status.message


def test_a_status_of_a_later_release_is_left_alone() -> None:
    run = a_run().model_copy(update={"status": RunStatus(format_version=2)})
    assert decide(run, seen()).status == run.status
    assert decide(run, seen()).actions == ()


def test_a_finished_run_without_a_time_of_its_end_is_tidied_up_from_now_on() -> None:
    run = AgentRun.model_validate(a_run().model_dump() | {"status": {"phase": "Failed"}})
    assert decide(run, seen()).wake_at is None
