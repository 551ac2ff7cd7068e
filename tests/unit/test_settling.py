"""A doubt that a tool can settle: when it is asked, what its answer does, and when a person is asked after all."""

from dataclasses import replace
from typing import Any

import pytest
from agentruns.core.actions import StopPod
from agentruns.core.inputs import idempotency_key
from agentruns.core.observed import Refusal
from agentruns.core.outputs import INLINE
from agentruns.core.questions import Lost, PodIsGone, StoredOutput
from agentruns.core.records import EffectState, Phase

from tests.unit.builders import a_run, a_step, a_tool, later
from tests.unit.play import Play, play

SETTLE = {"tool": "find", "happened": "result.found", "after": "30s"}
CALL = "pay-settle"
LARGE = {"found": True, "text": "x" * INLINE}


def paying(*others: dict[str, Any], pay: Any = None, find: Any = None, step: Any = None, **spec: Any) -> Play:
    """A run that has begun to pay, with a Tool that can find payments; another step comes after."""
    pays = a_tool(**{"effect": "NonIdempotent", "approval": "Never", "settle": SETTLE} | (pay or {}))
    steps = (a_step("pay", args={"order": "4711"}, **(step or {})), *(others or [a_step("note")]))
    return play(*steps, tools={"pay": pays, "find": a_tool(**(find or {}))}, **spec)


def doubted(**what: Any) -> Play:
    """The same, once the payment was killed after its effect may have been done."""
    return paying(**what).fails("pay", 137)


def asked(**what: Any) -> Play:
    """The same, once the Tool that can find payments is about to be started."""
    return doubted(**what).go(30)


def lost(**what: Any) -> Play:
    """The same, once the payment is past its hard end, and its node does not answer."""
    run = paying(**what).starts("pay").go(300).go(65)
    assert run.step("pay").is_settling
    return run


def recovered(run: Play) -> Play:
    """The node answers again: the payment's container has ended badly."""
    return run.ends("pay", 137).go()


# ----------------------------------------------------------------------------------------- when it is asked


def test_a_doubt_waits_for_its_time_without_asking_anybody() -> None:
    run = doubted()
    step, call = run.step("pay"), run.step(CALL)
    assert (step.state, step.reason, step.effect_state) == ("InDoubt", "Settling", EffectState.MAY_BE_DONE)
    assert step.message == "exit code 137 and no result; settling: find is asked at 2026-01-02T12:00:30Z"
    assert (call.state, call.next_attempt_at, run.decision.wake_at) == ("Waiting", later(30), later(30))
    assert (run.status.phase, run.status.reason, run.status.progress) == (Phase.RUNNING, "StepsInFlight", "0/2")
    assert run.status.waiting == "Time/2026-01-02T12:00:30Z"
    assert run.condition("AwaitingApproval") == ("False", "NotWaiting")
    assert run.go(29).states() == {"pay": "InDoubt", CALL: "Waiting"}
    assert run.go(1).states() == {"pay": "InDoubt", CALL: "Prepared"}
    assert run.approvals == {}


def test_an_effect_that_was_approved_does_not_seem_to_wait_for_its_approval() -> None:
    run = paying(pay={"approval": "Always"}).decides("pay", "Approve").fails("pay", 137)
    assert (run.step("pay").reason, run.status.waiting) == ("Settling", "Time/2026-01-02T12:00:30Z")
    assert run.condition("AwaitingApproval") == ("False", "NotWaiting")


def test_it_is_asked_with_the_same_arguments_and_key_in_a_pod_of_its_own() -> None:
    run = asked()
    pod = run.pod_manifest(CALL)
    assert pod["metadata"]["labels"]["agentrun.dev/step"] == CALL
    assert run.step(CALL).pod != run.step("pay").pod
    assert '"args":{"order":"4711"}' in run.input_of(CALL)
    assert run.step(CALL).idempotency_key == run.step("pay").idempotency_key == idempotency_key(run.run, "pay")
    assert run.step(CALL).input_digest not in ("", run.step("pay").input_digest)


def test_its_tool_is_pinned_and_a_later_change_of_it_concerns_later_runs() -> None:
    run = doubted()
    assert [it.name for it in run.status.tools] == ["pay", "note", "find"]
    run.tools["find"] = a_tool(effect="NonIdempotent")
    assert run.go(30).step(CALL).state == "Prepared"


def test_a_run_of_an_earlier_release_that_has_not_pinned_it_asks_a_person() -> None:
    run = paying()
    pinned = tuple(it for it in run.status.tools if it.name != "find")
    run.run = run.run.model_copy(update={"status": run.status.model_copy(update={"tools": pinned})})
    run.fails("pay", 137)
    assert (run.states(), run.status.phase) == ({"pay": "InDoubt"}, Phase.AWAITING_APPROVAL)


def test_a_tool_with_an_effect_that_an_earlier_release_has_pinned_is_not_called() -> None:
    run = paying()
    [pin] = [it for it in run.status.tools if it.name == "find"]
    run.stored[pin.revision] = {"data": a_tool(effect="NonIdempotent").model_dump(mode="json", by_alias=True)}
    run.answers.clear()
    assert run.fails("pay", 137).status.phase is Phase.AWAITING_APPROVAL


def let_go_by_somebody() -> Play:
    """A run that finds the pod of its payment already started, by whomever."""
    tools = {"pay": a_tool(effect="NonIdempotent", approval="Never", settle=SETTLE), "find": a_tool()}
    [pod] = play(a_step("pay"), tools=tools).pods.values()
    run = Play(a_run(a_step("pay")), tools, pods={pod.uid: replace(pod, gated=False, node="n", started_at=later(0))})
    return run.go()


def test_a_doubt_about_an_effect_that_may_be_under_way_waits_for_its_hard_end() -> None:
    run = let_go_by_somebody()
    assert (run.states(), run.step("pay").reason) == ({"pay": "InDoubt"}, "Settling")
    assert run.step("pay").message.endswith("; settling: find is asked once the attempt has ended")
    assert (run.status.phase, run.decision.wake_at) == (Phase.RUNNING, later(365))
    assert run.go(364).states() == {"pay": "InDoubt"}
    assert run.go(1).step(CALL).next_attempt_at == later(395)


def test_it_is_asked_a_while_after_the_attempt_was_closed() -> None:
    run = let_go_by_somebody().go(10).ends("pay", 137).go(10)
    assert run.step(CALL).next_attempt_at == later(50)


def test_an_attempt_that_nobody_saw_end_may_begin_until_its_last_moment_and_run_on_until_its_hard_end() -> None:
    run = paying(pay={"timeout": "2m"}).tears_out("pay").go(10)
    assert (run.step("pay").reason, run.step(CALL).next_attempt_at) == ("Settling", later(10 + 300 + 120 + 65))
    assert run.go(300 + 120 + 65).step(CALL).state == "Prepared"
    run = paying(pay={"timeout": "2m"})
    run.pods = {uid: replace(pod, phase="Failed", node="node-1", disrupted=True) for uid, pod in run.pods.items()}
    assert run.go(10).step(CALL).next_attempt_at == later(300 + 120 + 65)


def test_an_attempt_that_is_known_to_have_begun_may_run_on_until_its_hard_end() -> None:
    run = paying(pay={"timeout": "2m"}).starts("pay").go(5).tears_out("pay").go(10)
    assert run.step(CALL).next_attempt_at == later(15 + 120 + 65)
    run = paying(pay={"timeout": "2m"}).says("pay", error_class="Unknown").tears_out("pay").go(10)
    assert run.step(CALL).next_attempt_at == later(10 + 120 + 65)
    run = paying(pay={"timeout": "2m"}).starts("pay").ends("pay", 137, known=False).go(10)
    assert run.step(CALL).next_attempt_at == later(120 + 65)


def test_a_pod_that_is_lost_while_its_hard_end_is_waited_for_may_begin_even_so() -> None:
    run = let_go_by_somebody().tears_out("pay").go(10)
    assert run.step(CALL).next_attempt_at == later(10 + 300 + 300 + 65)


def test_what_cannot_be_seen_is_looked_at_again_before_it_is_asked() -> None:
    run = let_go_by_somebody()
    run.pods.clear()
    run.answers[PodIsGone(run.step("pay").pod, run.step("pay").pod_uid)] = False
    assert (run.go(10).states(), run.decision.wake_at) == ({"pay": "InDoubt"}, later(25))


# ----------------------------------------------------------------------------------------------- it happened


def test_what_has_happened_goes_on_with_what_was_found() -> None:
    run = asked().succeeds(CALL, {"found": True, "receipt": "R-1"})
    step = run.step("pay")
    assert run.states() == {"pay": "Succeeded", CALL: "Succeeded", "note": "Prepared"}
    assert (step.output, step.effect_state) == ({"found": True, "receipt": "R-1"}, EffectState.DONE)
    assert step.message == "exit code 137 and no result; settling: find says that it happened"
    assert run.status.progress == "1/2"
    run.succeeds("note")
    assert (run.status.phase, run.status.progress, run.status.message) == (
        Phase.SUCCEEDED, "2/2", "all steps have ended",
    )  # fmt: skip
    assert run.approvals == {}


def test_a_large_output_that_was_found_is_stored_like_any() -> None:
    run = asked().succeeds(CALL, LARGE)
    assert run.step("pay").output_ref is not None
    assert run.step("pay").effect_state is EffectState.DONE


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"pay": {"outputSchema": {"required": ["receipt"]}}}, 'outputSchema of tool pay: "receipt" is a required'),
        ({"step": {"verify": [{"expression": "result.ok", "message": "not ok"}]}}, "verify[0]: not ok"),
    ],
)
def test_what_was_found_and_cannot_be_the_output_is_asked_for(what: dict[str, Any], said: str) -> None:
    run = asked(**what).succeeds(CALL, {"found": True})
    asks = run.manifests[run.step("pay").approval]["spec"]
    assert (run.step("pay").state, run.step("pay").reason) == ("InDoubt", "Unsettled")
    assert run.step("pay").effect_state is EffectState.MAY_BE_DONE
    assert asks["purpose"] == "InDoubt"
    assert (
        "settling: find says that it happened, but what it returned cannot be the output: "
        in asks["request"]["outcome"]
    )
    assert said in asks["request"]["outcome"]
    assert "may have been done" not in asks["request"]["outcome"]


# ------------------------------------------------------------------------------------------ it did not happen


def test_what_has_not_happened_is_tried_again() -> None:
    run = asked().succeeds(CALL, {"found": False})
    step = run.step("pay")
    assert (step.state, step.reason, step.effect_state) == ("Waiting", "NotDone", EffectState.NONE)
    assert step.message == "exit code 137 and no result; settling: find says that nothing was done"
    assert run.approvals == {}
    run.go(1)
    assert (run.step("pay").state, run.step("pay").attempt, run.step("pay").epoch) == ("Prepared", 2, 0)
    assert run.step("pay").idempotency_key == step.idempotency_key
    run.succeeds("pay", {"receipt": "R-1"}).succeeds("note")
    assert run.status.phase is Phase.SUCCEEDED


def test_what_has_not_happened_often_enough_fails_and_was_not_done() -> None:
    run = asked(pay={"retry": {"attempts": 1}}).succeeds(CALL, {"found": False})
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "RetriesExhausted")
    assert run.status.message == (
        "step pay: attempt 1 of 1: exit code 137 and no result; settling: find says that nothing was done; "
        "done before: nothing"
    )


def test_every_doubt_is_settled_anew() -> None:
    run = asked().succeeds(CALL, {"found": False}).go(1)
    first = run.step(CALL)
    run.fails("pay", 137)
    again = run.step(CALL)
    assert (again.state, again.epoch, again.output, run.step("pay").reason) == ("Waiting", 1, None, "Settling")
    run.go(30)
    assert run.step(CALL).pod != first.pod
    assert run.step(CALL).attempt == 1
    assert run.succeeds(CALL, {"found": True}).step("pay").state == "Succeeded"


def test_what_a_person_had_run_again_is_settled_anew_and_the_doubt_before_it_stays() -> None:
    run = asked().fails(CALL, 65)
    first = run.step(CALL)
    run.decides("pay", "RunAgain").fails("pay", 137).go(30)
    assert (run.step(CALL).state, run.step(CALL).epoch) == ("Prepared", 1)
    assert run.step(CALL).pod != first.pod
    run.succeeds(CALL, {"found": False})
    assert (run.step("pay").state, run.step("pay").effect_state) == ("Waiting", EffectState.MAY_BE_DONE)


def test_what_an_earlier_attempt_may_have_done_is_not_taken_back() -> None:
    def tried() -> Play:
        return paying(pay={"effect": "Idempotent"}).fails("pay", 1)

    again = tried().go(1).step("pay").pod_uid
    run = tried()
    [pod] = [pod for uid, pod in tried().go(1).pods.items() if uid == again]
    run.pods[again] = replace(pod, gated=False, node="node-1", started_at=later(1))  # somebody else let it go
    run.go(1)
    assert (run.states(), run.step("pay").next_attempt_at) == ({"pay": "InDoubt"}, None)
    run.ends("pay", 1).go().go(30).succeeds(CALL, {"found": False})
    assert (run.step("pay").state, run.step("pay").effect_state) == ("Waiting", EffectState.MAY_BE_DONE)


# ------------------------------------------------------------------------------------------- it cannot tell


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({}, "find could not tell: "),
        (None, "find could not tell: "),
        ({"found": "yes"}, "find could not tell: settle.happened must be true or false, and is: string"),
        ({"found": None}, "find could not tell: settle.happened must be true or false, and is: null"),
    ],
)
def test_only_a_clean_answer_counts(output: Any, said: str) -> None:
    run = asked().succeeds(CALL, output)
    asks = run.manifests[run.step("pay").approval]["spec"]
    assert (run.states(), run.status.reason) == ({"pay": "InDoubt", CALL: "Succeeded"}, "StepInDoubt")
    assert asks["request"]["outcome"].startswith(f"exit code 137 and no result; settling: {said}")


def test_a_call_that_fails_has_a_person_asked() -> None:
    run = asked().fails(CALL, 65)
    assert run.states() == {"pay": "InDoubt", CALL: "Failed"}
    assert (run.status.phase, run.status.reason) == (Phase.AWAITING_APPROVAL, "StepInDoubt")
    assert run.manifests[run.step("pay").approval]["spec"]["request"]["outcome"] == (
        "exit code 137 and no result; settling: find could not tell: its call is Failed: Permanent, "
        "exit code 65: nothing was done, and never will be"
    )
    run.decides("pay", "Happened", output={"receipt": "R-1"}).succeeds("note")
    assert (run.status.phase, run.status.message) == (Phase.SUCCEEDED, "all steps have ended")


def test_a_call_has_the_attempts_of_its_own_tool() -> None:
    run = asked(find={"retry": {"attempts": 2}}).fails(CALL, 1)
    assert run.states() == {"pay": "InDoubt", CALL: "Waiting"}
    run.go(1).fails(CALL, 1)
    assert (run.step(CALL).reason, run.step("pay").reason) == ("RetriesExhausted", "Unsettled")
    assert len(run.approvals) == 1


def test_a_result_that_breaks_the_schema_of_the_settle_tool_says_nothing() -> None:
    run = asked(find={"outputSchema": {"required": ["at"]}}).succeeds(CALL, {"found": True})
    assert run.states() == {"pay": "InDoubt", CALL: "Failed"}
    assert "its call is Failed: InvalidResult, the result does not fit the outputSchema of tool find" in (
        run.step("pay").message
    )


def test_an_answer_that_cannot_be_kept_says_nothing() -> None:
    run = asked()
    run.refused["ConfigMap"] = Refusal("no room", for_now=False)
    run.succeeds(CALL, LARGE)
    assert (run.step(CALL).reason, run.step("pay").reason) == ("InvalidResult", "Unsettled")


def test_an_answer_that_is_lost_says_nothing() -> None:
    kept = asked().succeeds(CALL, LARGE).step(CALL).output_ref
    assert kept is not None
    run = asked()
    run.answers[StoredOutput(kept)] = Lost("ConfigMap gone")
    run.succeeds(CALL, LARGE)
    assert run.states() == {"pay": "InDoubt", CALL: "Succeeded"}
    assert "could not tell: the output of step pay-settle is lost: ConfigMap gone" in run.step("pay").message


def test_arguments_that_do_not_fit_the_settle_tool_have_a_person_asked() -> None:
    words = {"properties": {"order": {"type": "string"}}}
    pays = a_tool(effect="NonIdempotent", approval="Never", settle=SETTLE)
    steps = (a_step("lookup"), a_step("pay", args={"order": "${steps.lookup.output.order}"}))
    run = play(*steps, tools={"pay": pays, "find": a_tool(inputSchema=words)})
    run.succeeds("lookup", {"order": 4711}).fails("pay", 137).go(30)
    assert run.states() == {"lookup": "Succeeded", "pay": "InDoubt", CALL: "Failed"}
    assert "InvalidSpec, args do not fit the inputSchema of tool find" in run.step("pay").message
    assert len(run.approvals) == 1


def test_a_call_whose_node_does_not_answer_has_a_person_asked() -> None:
    run = asked(find={"timeout": "10s"}).starts(CALL).go(74.9)
    assert run.states() == {"pay": "InDoubt", CALL: "Running"}
    run.go(0.1)
    assert (run.step(CALL).state, run.step(CALL).reason, run.step("pay").reason) == ("Failed", "NodeLost", "Unsettled")
    assert len(run.approvals) == 1


def test_a_pod_of_a_call_that_somebody_else_started_says_nothing() -> None:
    run = doubted()
    [pod] = [it for it in asked().pods.values() if it.step == CALL]
    run.pods[pod.uid] = replace(pod, gated=False, node="node-1", started_at=run.now)
    run.go(30)
    assert (run.step(CALL).state, run.step(CALL).reason) == ("Failed", "ForeignPod")
    assert (run.step("pay").reason, len(run.approvals)) == ("Unsettled", 1)


# --------------------------------------------------------------------------------- its attempt is not closed


def test_a_lost_node_does_not_keep_it_from_being_asked_and_its_yes_counts() -> None:
    run = lost()
    assert (run.step("pay").reason, run.step(CALL).next_attempt_at) == ("SettlingEarly", later(395))
    run.go(30).succeeds(CALL, {"found": True})
    assert run.states() == {"pay": "Succeeded", CALL: "Succeeded", "note": "Prepared"}


def test_no_attempt_begins_and_no_effect_is_declared_absent_before_the_last_is_closed() -> None:
    run = lost().go(30).succeeds(CALL, {"found": False})
    assert (run.states(), run.step("pay").reason) == ({"pay": "InDoubt", CALL: "Succeeded"}, "Unsettled")
    assert "says that nothing was done yet, but the attempt is not known to have ended" in run.step("pay").message
    assert run.go(3600).states() == {"pay": "InDoubt", CALL: "Succeeded"}
    assert (run.status.phase, len(run.approvals)) == (Phase.AWAITING_APPROVAL, 1)


def test_a_no_that_was_given_before_the_attempt_was_closed_is_asked_for_again() -> None:
    run = recovered(lost().go(30).starts(CALL))
    run.says(CALL, {"found": False}).ends(CALL).go()
    assert (run.step("pay").state, run.step(CALL).state, run.step(CALL).epoch) == ("InDoubt", "Waiting", 1)
    run.go(30).succeeds(CALL, {"found": False})
    assert (run.step("pay").state, run.step("pay").reason) == ("Waiting", "NotDone")


def test_a_result_that_can_be_read_after_all_makes_the_call_needless() -> None:
    run = lost().says("pay", {"receipt": "R-1"}).go()
    assert run.states() == {"pay": "Succeeded", CALL: "Cancelled", "note": "Prepared"}
    assert run.step(CALL).reason == "NotNeeded"


def test_a_needless_call_in_flight_is_stopped_and_awaited() -> None:
    run = lost(parallelism=3).go(30).starts(CALL).says("pay", {"receipt": "R-1"}).go()
    assert run.states() == {"pay": "Succeeded", CALL: "Prepared", "note": "Prepared"}
    assert run.step(CALL).pod_uid in {it.uid for it in run.actions(StopPod)}
    run.succeeds("note")
    assert run.status.phase is Phase.RUNNING
    run.ends(CALL, 137).go()
    assert (run.step(CALL).state, run.step(CALL).reason, run.status.phase) == ("Cancelled", "NotNeeded", "Succeeded")


# ---------------------------------------------------------------------------- the run ends, or does not go on


def test_a_cancelled_run_asks_nobody_any_more() -> None:
    run = doubted().wants(desiredState="Cancelled").go(60)
    assert (run.status.phase, run.states()) == (Phase.CANCELLED, {"pay": "InDoubt", CALL: "Cancelled"})
    assert (run.step("pay").reason, run.approvals) == ("Unsettled", {})
    assert run.step("pay").message == "exit code 137 and no result; settling: its run was ended"
    assert "IN DOUBT, may have been done, and nobody is asked any more: pay; done before: nothing" in run.status.message


def test_a_call_in_flight_is_stopped_when_its_run_is_cancelled_and_settles_nothing() -> None:
    run = asked().starts(CALL).wants(desiredState="Cancelled")
    assert (run.status.phase, run.step(CALL).state) == (Phase.RUNNING, "Prepared")
    assert run.step(CALL).pod_uid in {it.uid for it in run.actions(StopPod)}
    run.says(CALL, {"found": True}).ends(CALL).go()
    assert (run.status.phase, run.states()) == (Phase.CANCELLED, {"pay": "InDoubt", CALL: "Succeeded"})
    assert run.status.message.endswith("done before: nothing")


def test_a_deadline_ends_it() -> None:
    run = doubted(deadline="20s").go(20)
    assert (run.status.reason, run.states()) == ("DeadlineExceeded", {"pay": "InDoubt", CALL: "Cancelled"})


def test_a_failure_elsewhere_lets_the_call_in_flight_end_and_begins_none() -> None:
    run = paying(a_step("side"), order="Graph").fails("pay", 137).go(30).starts(CALL).fails("side", 65)
    assert (run.status.phase, run.step(CALL).state) == (Phase.RUNNING, "Prepared")
    assert run.step(CALL).pod_uid not in {it.uid for it in run.actions(StopPod)}
    run.says(CALL, {"found": True}).ends(CALL).go()
    assert (run.status.phase, run.step("pay").state) == (Phase.FAILED, "InDoubt")
    run = paying(a_step("side"), order="Graph").fails("pay", 137).fails("side", 65)
    assert (run.status.phase, run.step(CALL).state) == (Phase.FAILED, "Cancelled")


def test_a_paused_run_asks_when_it_goes_on() -> None:
    run = doubted().wants(desiredState="Paused").go(60)
    assert (run.status.phase, run.step(CALL).state) == (Phase.PAUSED, "Waiting")
    assert run.wants(desiredState="Running").step(CALL).state == "Prepared"


def test_a_call_has_its_share_of_parallelism() -> None:
    run = paying(a_step("side"), a_step("rest"), order="Graph", parallelism=1).fails("pay", 137)
    assert run.step("side").state == "Prepared"
    assert run.go(30).step(CALL).state == "Waiting"
    run.succeeds("side")
    assert (run.step(CALL).state, run.step("rest").state) == ("Prepared", "Pending")
