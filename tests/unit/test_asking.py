"""A step that waits for a person: what is asked, whose answer counts, and what follows from it."""

from dataclasses import replace
from typing import Any

import pytest
from agentruns.core.actions import ReleasePod, SettleApproval, Ungate
from agentruns.core.observed import Refusal
from agentruns.core.outputs import MAX_STORED
from agentruns.core.questions import PodIsGone, PolicyEnforced
from agentruns.core.records import Phase
from agentruns.core.resources import Approval, ApprovalState, ApprovalStatus

from tests.unit.builders import NAMESPACE, NOW, a_run, a_step, a_tool, later
from tests.unit.play import Play, play

ASKS = a_tool(effect="NonIdempotent")
ENFORCED = PolicyEnforced(NAMESPACE)


def asking(**spec: Any) -> Play:
    """A run whose first step waits for a person."""
    return play(a_step("refund", args={"amount": 12.5}), a_step("note"), tools={"refund": ASKS}, **spec)


def in_doubt(**tool: Any) -> Play:
    """A run whose first step was killed after its effect may have been done."""
    tools = {"pay": a_tool(effect="NonIdempotent", approval="Never", **tool)}
    return play(a_step("pay"), a_step("note"), tools=tools).fails("pay", exit_code=137)


def changed(run: Play, name: str, **spec: Any) -> None:
    """Somebody has stored another Approval in the place of this one."""
    body = run.approvals[name].model_dump(mode="json", by_alias=True)
    body["metadata"]["generation"] = 2
    run.approvals[name] = Approval.model_validate(body | {"spec": body["spec"] | spec})


def test_a_run_waits_for_a_person_without_a_pod() -> None:
    run = asking()
    approval = run.approval_of("refund")
    assert run.states() == {"refund": "AwaitingApproval"}
    assert run.pods == {}
    assert (run.status.phase, run.status.reason) == (Phase.AWAITING_APPROVAL, "StepAwaitsApproval")
    assert run.status.message == f"step refund waits for Approval {approval.metadata.name}"
    assert run.status.waiting == f"Approval/{approval.metadata.name}"
    assert [it.model_dump(exclude_none=True) for it in run.status.waiting_for] == [
        {"kind": "Approval", "name": approval.metadata.name, "step": "refund"}
    ]
    assert run.decision.wake_at is None


def test_waiting_writes_nothing() -> None:
    run = asking()
    before, approvals = run.status, dict(run.approvals)
    for _ in range(50):
        run.go(3600)
    assert (run.status, run.approvals, run.done) == (before, approvals, [])


def test_several_questions_are_counted() -> None:
    run = play(*(a_step(f"s{n}", approval="Always") for n in range(12)), order="Graph")
    assert run.status.waiting.endswith(" +9")
    assert len(run.status.waiting_for) == 10


def test_approve_runs_exactly_what_was_shown() -> None:
    run = asking()
    approval = run.approval_of("refund")
    run.decides("refund", "Approve", reason="checked")
    assert run.states() == {"refund": "Prepared"}
    assert run.actions(SettleApproval)[0].state == "Approved"
    decision = run.step("refund").decision
    assert decision is not None
    assert decision.model_dump() == {
        "verdict": "Approve",
        "by": "alice@example.com",
        "at": NOW,
        "reason": "checked",
        "digest": approval.spec.digest,
    }
    assert '"args":{"amount":12.5}' in run.input_of("refund")
    assert (run.status.waiting, run.status.waiting_for) == ("", ())


def test_the_approval_is_settled_before_anything_follows_from_it() -> None:
    run = asking().decides("refund", "Approve")
    assert [type(it) for it in run.done[:2]] == [SettleApproval, Ungate]


@pytest.mark.parametrize(("reason", "said"), [("too much", ": too much"), ("", "")])
def test_reject_ends_the_run_with_the_persons_reason(reason: str, said: str) -> None:
    run = asking().decides("refund", "Reject", reason=reason)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "Rejected")
    assert run.status.message == f"step refund: alice@example.com rejected it{said}; done before: nothing"
    assert run.approval_states() == ["Rejected"]
    assert run.pods == {}


def test_a_question_that_was_superseded_is_not_settled_anew_by_an_old_look_at_its_run() -> None:
    run = asking()
    approval = run.approval_of("refund")
    superseded = ApprovalStatus(state=ApprovalState.SUPERSEDED, decided_at=NOW)
    run.approvals[approval.metadata.name] = approval.model_copy(update={"status": superseded})
    run.decides("refund", "Approve")
    assert (run.actions(SettleApproval), run.states()) == ([], {"refund": "AwaitingApproval"})


def test_a_rejection_that_may_be_lets_the_run_go_on() -> None:
    run = play(a_step("refund", onFailure="Continue"), a_step("note"), tools={"refund": ASKS})
    run.decides("refund", "Reject")
    assert run.states() == {"refund": "Failed", "note": "Prepared"}


def test_one_answer_covers_all_attempts() -> None:
    run = asking().decides("refund", "Approve").fails("refund", exit_code=75).go(60)
    assert (run.states()["refund"], run.step("refund").attempt) == ("Prepared", 2)
    assert len(run.approvals) == 1


def test_an_answer_survives_a_quota() -> None:
    run = asking()
    run.refused["Pod"] = in_time = Refusal("exceeded quota", for_now=True)
    run.decides("refund", "Approve")
    assert (run.states()["refund"], run.step("refund").message) == ("Waiting", in_time.message)
    run.refused.clear()
    run.go(10)
    assert (run.states()["refund"], run.step("refund").attempt) == ("Prepared", 1)


def test_deleting_the_question_asks_it_anew_and_never_approves() -> None:
    run = asking()
    first = run.approvals.pop(run.step("refund").approval)
    run.go()
    assert run.approval_of("refund").spec == first.spec
    assert run.states() == {"refund": "AwaitingApproval"}


def test_an_answer_on_a_question_that_is_being_deleted_does_not_count() -> None:
    run = asking()
    name = run.step("refund").approval
    metadata = run.approvals[name].metadata.model_copy(update={"deletion_timestamp": NOW})
    run.approvals[name] = run.approvals[name].model_copy(update={"metadata": metadata})
    assert run.decides("refund", "Approve").states() == {"refund": "AwaitingApproval"}


@pytest.mark.parametrize(
    "forged",
    [
        {"digest": f"sha256:{'0' * 64}"},
        {"runRef": {"name": "refund-4711", "uid": "an-earlier-run"}},
        {"request": {"summary": "Refund 1.00 EUR", "args": {"amount": 1}}},
    ],
)
def test_an_answer_on_another_question_does_not_count(forged: dict[str, Any]) -> None:
    run = asking()
    name = run.step("refund").approval
    changed(run, name, **forged)
    run.decides("refund", "Approve")
    assert (run.states(), run.pods) == ({"refund": "AwaitingApproval"}, {})
    assert (run.status.reason, run.status.phase) == ("ForeignApproval", Phase.AWAITING_APPROVAL)
    assert "delete it, and it is asked anew" in run.status.message
    del run.approvals[name]
    assert run.go().status.reason == "StepAwaitsApproval"


def test_no_answer_counts_where_it_could_be_forged() -> None:
    run = asking()
    run.answers[ENFORCED] = False
    run.decides("refund", "Approve")
    assert (run.states(), run.status.reason) == ({"refund": "AwaitingApproval"}, "PolicyNotEnforced")
    assert run.decision.wake_at == later(15)
    run.answers[ENFORCED] = True
    assert run.go(15).states() == {"refund": "Prepared"}


def test_a_paused_run_takes_its_answer_when_it_goes_on() -> None:
    run = asking().wants(desiredState="Paused").decides("refund", "Approve")
    assert run.states() == {"refund": "AwaitingApproval"}
    assert run.wants(desiredState="Running").states() == {"refund": "Prepared"}


# ------------------------------------------------------------------------------------------- in doubt


def test_a_step_in_doubt_asks_what_became_of_it() -> None:
    run = in_doubt()
    approval = run.approval_of("pay")
    assert run.states() == {"pay": "InDoubt"}
    assert approval.spec.purpose == "InDoubt"
    assert (run.status.phase, run.status.reason) == (Phase.AWAITING_APPROVAL, "StepInDoubt")
    assert run.status.message == (
        f"step pay is in doubt (exit code 137 and no result) and waits for Approval {approval.metadata.name}"
    )


def test_happened_goes_on_with_the_output_a_person_vouches_for() -> None:
    run = in_doubt().decides("pay", "Happened", output={"receipt": "R-1"})
    assert run.states() == {"pay": "Succeeded", "note": "Prepared"}
    assert run.step("pay").output == {"receipt": "R-1"}
    assert run.approval_states() == ["Settled"]


def test_what_a_person_vouches_for_is_held_to_the_schema() -> None:
    schema = {"type": "object", "required": ["receipt"]}
    run = in_doubt(outputSchema=schema)
    first = run.step("pay")
    for _ in range(2):
        run.decides("pay", "Happened", output={})
    asked = run.step("pay")
    assert (asked.state, asked.decision, asked.asked_anew) == ("InDoubt", None, 2)
    assert asked.message == (
        f"{first.message}; asked anew, since the output given with Happened cannot be used: decision.output does not "
        'fit the outputSchema of tool pay: "receipt" is a required property'
    )
    assert run.status.waiting == f"Approval/{asked.approval}" != f"Approval/{first.approval}"
    assert run.approval_states() == ["Settled", "Settled", "Pending"]
    assert asked.epoch == 0
    run.decides("pay", "Happened", output={"receipt": 1})
    assert run.states() == {"pay": "Succeeded", "note": "Prepared"}
    assert (run.step("pay").effect_state, run.step("pay").pod) == ("Done", first.pod)


def test_an_output_that_cannot_be_stored_is_asked_for_anew() -> None:
    run = in_doubt().decides("pay", "Happened", output="x" * (MAX_STORED + 1))
    assert (run.step("pay").state, run.step("pay").asked_anew) == ("InDoubt", 1)
    assert "decision.output has 1048579 bytes as it is stored" in run.step("pay").message


def test_run_again_is_a_new_intent_with_attempts_of_its_own() -> None:
    run = in_doubt()
    before = run.step("pay")
    run.decides("pay", "RunAgain")
    after = run.step("pay")
    assert run.states() == {"pay": "Prepared"}
    assert (after.epoch, after.attempt) == (1, 1)
    assert after.pod != before.pod
    assert after.idempotency_key == before.idempotency_key
    run.fails("pay", exit_code=137)
    assert run.step("pay").approval != before.approval
    assert run.manifests[run.step("pay").approval]["spec"]["request"]["askedBefore"] == 1


def paying() -> Play:
    """A run that has let go of the pod of its payment."""
    tools = {"pay": a_tool(effect="NonIdempotent", approval="Never", timeout="2m")}
    return play(a_step("pay"), tools=tools)


def test_nothing_runs_again_before_what_was_lost_is_over() -> None:
    run = paying().tears_out("pay").go(10).decides("pay", "RunAgain")
    over = later(10 + 300 + 120 + 65)
    step = run.step("pay")
    assert (step.state, step.epoch, step.next_attempt_at, run.decision.wake_at) == ("Waiting", 1, over, over)
    assert step.message.endswith(
        "; alice@example.com had it run again, and it begins at 2026-01-02T12:08:15Z: what was lost may act until then"
    )
    assert run.status.waiting == "Time/2026-01-02T12:08:15Z"
    assert run.go(300 + 120 + 64.9).states() == {"pay": "Waiting"}
    assert (run.go(0.1).states(), run.step("pay").attempt) == ({"pay": "Prepared"}, 1)


def test_what_was_lost_long_ago_runs_again_at_once() -> None:
    run = paying().tears_out("pay").go(10).go(300 + 120 + 65).decides("pay", "RunAgain")
    assert (run.states(), run.step("pay").attempt) == ({"pay": "Prepared"}, 1)


def test_what_was_seen_to_end_runs_again_at_once_though_its_pod_is_gone() -> None:
    assert in_doubt().tears_out("pay").go(10).decides("pay", "RunAgain").states() == {"pay": "Prepared"}


def test_what_has_ended_since_it_was_in_doubt_runs_again_at_once() -> None:
    [pod] = paying().pods.values()
    tools = {"pay": a_tool(effect="NonIdempotent", approval="Never", timeout="2m")}
    run = Play(a_run(a_step("pay")), tools, pods={pod.uid: replace(pod, gated=False, node="n", started_at=later(0))})
    assert run.go().step("pay").next_attempt_at == later(120 + 65)
    assert run.ends("pay", 137).decides("pay", "RunAgain").states() == {"pay": "Prepared"}


def test_a_question_put_in_other_words_by_an_earlier_release_counts_as_it_was_shown() -> None:
    run = asking()
    name = run.step("refund").approval
    assert run.step("refund").shown_digest == run.approvals[name].spec.request
    changed(run, name, request={"summary": "Refund, said otherwise"})
    shown = run.approvals[name].spec.request
    record = run.step("refund").model_copy(update={"shown_digest": shown})
    run.run = run.run.model_copy(update={"status": run.status.model_copy(update={"steps": (record,)})})
    run.decides("refund", "Approve")
    assert run.states() == {"refund": "Prepared"}
    assert run.step("refund").shown_digest == shown


def test_fail_ends_the_run_and_says_who_let_it() -> None:
    run = in_doubt().decides("pay", "Fail", reason="refunded by hand")
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InDoubt")
    assert "exit code 137 and no result; alice@example.com let it fail: refunded by hand" in run.status.message


def test_a_doubt_about_what_somebody_else_asked_is_asked_anew_once_that_is_gone() -> None:
    run = in_doubt()
    name = run.step("pay").approval
    changed(run, name, digest=f"sha256:{'0' * 64}")
    assert run.go().status.reason == "ForeignApproval"
    del run.approvals[name]
    assert (run.go().status.reason, run.step("pay").reason) == ("StepInDoubt", "AwaitingDecision")


def test_a_doubt_about_a_pod_that_somebody_else_started_is_asked_about_at_once() -> None:
    tools = {"pay": a_tool(effect="NonIdempotent", approval="Never")}
    run = Play(a_run(a_step("pay")), tools)
    run.refused["Pod"] = Refusal("exceeded quota", for_now=True)
    run.go()
    run.refused.clear()
    [pod] = play(a_step("pay"), tools=tools).pods.values()
    run.pods[pod.uid] = replace(pod, gated=False, node="node-1", started_at=run.now)
    run.recorded.clear()
    run.go(10)
    assert (run.step("pay").reason, run.step("pay").effect_state) == ("ForeignPod", "MayBeDone")
    assert [it.waiting for it in run.recorded] == [f"Approval/{run.step('pay').approval}"] * len(run.recorded)


def test_a_doubt_in_a_namespace_that_ends_is_recorded_though_nobody_can_be_asked() -> None:
    run = play(a_step("pay"), tools={"pay": a_tool(effect="NonIdempotent", approval="Never")}).starts("pay")
    run.refused["Approval"] = Refusal("because it is being terminated", for_now=True)
    [pod] = run.pods.values()
    run.pods[pod.uid] = replace(pod, deleting=True)
    run.answers[PodIsGone(pod.name, pod.uid)] = True
    run.ends("pay", 137).go()
    assert (run.states(), run.status.reason, run.step("pay").approval) == ({"pay": "InDoubt"}, "CreationRefused", "")
    assert [it.uid for it in run.actions(ReleasePod)] == [pod.uid]


def test_a_doubt_keeps_its_cause_while_no_answer_counts() -> None:
    run = in_doubt()
    run.answers[ENFORCED] = False
    run.decides("pay", "Fail")
    assert run.states() == {"pay": "InDoubt"}
    run.answers[ENFORCED] = True
    assert "exit code 137 and no result; alice@example.com let it fail" in run.go(15).status.message
