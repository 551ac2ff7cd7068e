"""One task, however many runs: who may begin it, what later ones come to, and what is asked about a lost one."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from agentruns.core.actions import DeleteRun, WriteClaim
from agentruns.core.journal import SEGMENT, Journal
from agentruns.core.lexing import ExpressionError
from agentruns.core.naming import claim_name
from agentruns.core.observed import Refusal
from agentruns.core.questions import ClaimOf, Evaluation, JournalSegment, Lost, PolicyEnforced, Question
from agentruns.core.records import FINAL_PHASES, FORMAT_VERSION, Phase, RunStatus
from agentruns.core.resources import Approval
from agentruns.core.sizes import OUTPUT_LIMIT
from agentruns.core.tasks import Claim, ClaimState, read_claim, task_digest

from tests.unit.builders import NAMESPACE, NOW, a_pod, a_run, a_step, a_tool, later
from tests.unit.play import Play

KEY = "refund-4711"
NAME = claim_name(NAMESPACE, KEY)
PAYS = {"pay": a_tool(effect="NonIdempotent", approval="Never")}
STEPS = (a_step("look"), a_step("pay"))
OUTPUT = {"receipt": "${steps.pay.output}"}


def holder(**spec: Any) -> Play:
    """The first run of the task, with its first pod prepared."""
    return Play(a_run(*STEPS, idempotencyKey=KEY, **{"output": OUTPUT, **spec}), dict(PAYS)).go()


def another(first: Play, *, gone: bool = False, steps: Any = STEPS, name: str = "again", **spec: Any) -> Play:
    """A later run of the same key that has not been looked at yet."""
    run = a_run(*steps, metadata={"name": name, "uid": name}, idempotencyKey=KEY, **{"output": OUTPUT, **spec})
    return Play(run, dict(PAYS), claims=first.claims, others=[] if gone else [first])


def claim(run: Play) -> Claim:
    """What the claim of the task says."""
    found = read_claim(run.claims[NAME])
    assert isinstance(found, Claim)
    return found


def done() -> Play:
    """A run that has done the task."""
    return holder().succeeds("look").succeeds("pay", "R-1")


def failed_having_read() -> Play:
    """A run that has failed before it had any effect."""
    return holder().fails("look")


def failed_having_paid() -> Play:
    """A run that has failed after its effect may have been done."""
    return holder().succeeds("look").starts("pay").says("pay", invalid="no JSON").ends("pay").go()


def cancelled_having_paid() -> Play:
    """A run that was cancelled when its effect may have been done."""
    return holder().succeeds("look").fails("pay", 3).wants(desiredState="Cancelled")


def lost(**spec: Any) -> Play:
    """A later run of a task whose first run went in mid-flight, and nobody knows what it had done."""
    return another(holder(**spec).succeeds("look").starts("pay"), gone=True, **spec).go()


def stands(run: Play) -> tuple[str, str]:
    return run.status.phase.value, run.status.reason


# ------------------------------------------------------------------------------------------- the claim as a lock


def test_a_task_is_claimed_before_anything_of_it_is_made() -> None:
    run = Play(a_run(*STEPS, idempotencyKey=KEY), dict(PAYS))
    run.refused["ConfigMap"] = Refusal("exceeded quota", for_now=True)
    run.go()
    assert stands(run) == ("Pending", "CreationRefused")
    assert "refused to store the claim of its task: exceeded quota" in run.status.message
    assert (run.pods, run.stored, run.claims, run.decision.wake_at) == ({}, {}, {}, later(10))
    run.refused.clear()
    run.go(10)
    assert (run.states(), list(run.claims)) == ({"look": "Prepared"}, [NAME])
    held = claim(run)
    assert (held.run, held.run_uid, held.state, held.task) == ("refund-4711", run.run.metadata.uid, "InFlight", KEY)


def test_a_run_that_cannot_work_claims_nothing() -> None:
    run = holder(output={"x": "${steps.nowhere.output}"})
    assert (stands(run), run.claims) == (("Failed", "InvalidSpec"), {})


def test_a_run_without_a_key_is_a_task_of_its_own() -> None:
    run = Play(a_run(a_step("look"))).go().succeeds("look")
    assert (run.status.phase, run.claims) == (Phase.SUCCEEDED, {})


def test_a_run_that_crashed_after_it_had_claimed_its_task_begins_it() -> None:
    first = holder()
    again = Play(first.run.model_copy(update={"status": RunStatus()}), dict(PAYS), claims=first.claims).go()
    assert again.states() == {"look": "Prepared"}
    assert again.claims[NAME]["metadata"]["resourceVersion"] == "1"


def test_a_claim_says_what_the_tools_can_do_that_the_run_begins_with() -> None:
    """Between claim and beginning a Tool may come to act that only read when the task was claimed."""
    first = Play(a_run(*STEPS, idempotencyKey=KEY))
    first.refused["ControllerRevision"] = Refusal("exceeded quota", for_now=True)
    assert stands(first.go()) == ("Pending", "CreationRefused")
    assert claim(first).effects == "None"
    first.refused.clear()
    first.tools |= PAYS
    assert first.go(10).states() == {"look": "Prepared"}
    assert claim(first).effects == "Possible"


@dataclass
class Overtaken(Play):
    """A run that another is quicker than: its first answers about claims are what was so before."""

    before: list[Any] = field(default_factory=list)

    def _answer(self, question: Question) -> Any:
        if isinstance(question, ClaimOf) and self.before:
            return self.before.pop(0)
        return super()._answer(question)


def test_of_two_runs_that_found_no_claim_one_begins() -> None:
    first = holder()
    second = Overtaken(another(first).run, dict(PAYS), claims=first.claims, others=[first], before=[None])
    assert (stands(second.go()), second.before, second.pods) == (("Pending", "TaskHeld"), [], {})
    assert claim(second).run == first.run.metadata.name


def test_of_two_runs_that_would_take_over_one_begins() -> None:
    first = failed_having_read()
    free = claim(first)
    second = another(first, gone=True).go()
    third = another(first, gone=True, name="third").run
    slow = Overtaken(third, dict(PAYS), claims=first.claims, others=[second], before=[free, free]).go()
    assert (stands(slow), slow.pods) == (("Pending", "TaskHeld"), {})
    assert (second.states(), claim(second).run) == ({"look": "Prepared"}, "again")


# ------------------------------------------------------------------------------------- the same key, another task


@pytest.mark.parametrize(
    "change",
    [
        {"input": {"order": "4712"}},
        {"goal": "another"},
        {"steps": STEPS[:1], "output": {}},
        {"output": {}},
        {"parallelism": 1},
        {"deadline": "1h"},
        {"order": "Graph"},
    ],
)
@pytest.mark.parametrize("first", [holder, done, failed_having_paid, cancelled_having_paid])
def test_another_spec_under_the_same_key_is_refused(first: Any, change: dict[str, Any]) -> None:
    one = first()
    before = dict(one.claims)
    run = another(one, **change).go()
    assert (stands(run), run.pods, run.claims) == (("Failed", "IdempotencyConflict"), {}, before)
    assert "the task of run refund-4711, whose spec is another; make a new run" in run.status.message


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("first", [failed_having_read, lambda: holder().wants(desiredState="Cancelled")])
def test_a_key_under_which_nothing_was_done_is_there_for_another_spec(first: Any, gone: bool) -> None:
    """Else who runs anything under a key that can be foreseen keeps it from whoever it is for."""
    second = another(first(), gone=gone, goal="another").go()
    assert second.states() == {"look": "Prepared"}
    assert (claim(second).run, claim(second).digest) == ("again", task_digest(second.run))
    assert stands(another(second, name="third").go()) == ("Failed", "IdempotencyConflict")


def reading(**spec: Any) -> Play:
    """A run of the task that only reads, under way."""
    return Play(a_run(a_step("look"), idempotencyKey=KEY, **spec)).go()


def test_a_key_of_a_run_that_only_reads_is_there_for_another_spec_once_that_is_gone() -> None:
    first = reading()
    run = a_run(a_step("look"), metadata={"name": "again", "uid": "again"}, idempotencyKey=KEY, goal="another")
    assert stands(Play(run, claims=first.claims, others=[first]).go()) == ("Failed", "IdempotencyConflict")
    assert Play(run, claims=first.claims).go().states() == {"look": "Prepared"}


def test_another_spec_waits_for_the_end_of_a_run_whose_claim_says_that_nothing_was_done() -> None:
    first = failed_having_read()
    ended, first.run = first.run, unrecorded(first).run
    second = another(first, goal="another").go()
    assert (stands(second), second.pods) == (("Pending", "TaskHeld"), {})
    first.run = ended
    assert second.go().states() == {"look": "Prepared"}


def test_a_key_is_not_there_for_another_spec_if_its_run_came_to_another_end_between_two_looks() -> None:
    free = claim(failed_having_read())
    first = done()
    second = Overtaken(another(first, gone=True, goal="another").run, dict(PAYS), claims=first.claims, before=[free])
    assert (stands(second.go()), second.before, second.pods) == (("Failed", "IdempotencyConflict"), [], {})


@pytest.mark.parametrize(
    "change", [{"desiredState": "Running"}, {"ttlAfterFinished": "1h"}, {"requestedBy": "bob"}, {"parallelism": 10}]
)
def test_what_does_not_say_what_is_to_be_done_makes_no_other_task(change: dict[str, Any]) -> None:
    assert stands(another(done(), **change).go()) == ("Succeeded", "AlreadyDone")


def test_a_task_stays_what_it_is_over_releases() -> None:
    run = another(done(), goal="help", input={"order": 1}, parallelism=10).run
    assert task_digest(run) == "sha256:ccc876768679563cf0f70922a39cef8938c2dbe79f5fcc447038fa778e45735e"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": {"x": [[]]}}, "input: is nested"),
        ({"output": {"x": [[]]}}, "output: is nested"),
        ({"steps": (a_step("look", args={"x": [[]]}),)}, "steps[0] (look): args: is nested"),
    ],
)
def test_a_spec_that_is_nested_too_deeply_is_refused_before_it_is_compared(change: dict[str, Any], said: str) -> None:
    deep: Any = []
    for _ in range(70):
        deep = [deep]
    text = another(done(), **change)
    for part in (text.run.spec.input, text.run.spec.output, text.run.spec.steps[0].args):
        if "x" in part:
            part["x"] = deep
    assert stands(text.go()) == ("Failed", "InvalidSpec")
    assert said in text.status.message


# ----------------------------------------------------------------------------------------------- while it is held


def test_a_second_run_waits_for_the_first_and_returns_its_result() -> None:
    first = holder()
    second = another(first).go()
    assert (stands(second), second.pods) == (("Pending", "TaskHeld"), {})
    assert [(it.kind, it.name) for it in second.status.waiting_for] == [("AgentRun", "refund-4711")]
    assert second.status.waiting == "AgentRun/refund-4711"
    assert second.decision.wake_at == later(300)
    assert second.condition("Stalled")[0] == "False"
    first.succeeds("look").succeeds("pay", "R-1")
    second.go()
    assert (stands(second), second.status.output) == (("Succeeded", "AlreadyDone"), {"receipt": "R-1"})
    assert (second.status.steps, second.status.waiting, second.pods) == ((), "", {})
    assert second.status.message.startswith("an earlier run, refund-4711, has done this task")
    assert claim(second).run == "refund-4711"


def test_a_run_that_has_claimed_its_task_and_not_begun_has_it() -> None:
    first = holder()
    first.run = first.run.model_copy(update={"status": RunStatus()})
    second = another(first).go()
    assert (stands(second), second.approvals) == (("Pending", "TaskHeld"), {})
    assert claim(second).run == "refund-4711"


def test_a_result_is_not_believed_before_its_run_is_over() -> None:
    """It may come to another end yet: what it decided may not be what it records."""
    first = holder().succeeds("look")
    ended = done()
    second = another(ended)
    second.others = [first]
    assert stands(second.go()) == ("Pending", "TaskHeld")


@pytest.mark.parametrize("end", [done, failed_having_read, failed_having_paid, cancelled_having_paid])
@pytest.mark.parametrize("state", list(ClaimState))
def test_the_record_of_a_run_that_is_there_counts_whatever_its_claim_says(end: Any, state: ClaimState) -> None:
    """An operator that slept through its end may have written the claim."""
    first = end()
    as_it_is = another(first).go()
    first = end()
    held = claim(first)
    effects = "Possible" if state is ClaimState.IN_FLIGHT else held.effects
    wrong = {"data": {**first.claims[NAME]["data"], "state": state.value, "effects": effects, "output": '{"x":1}'}}
    first.claims[NAME] |= wrong
    second = another(first).go()
    assert (stands(second), second.status.message) == (stands(as_it_is), as_it_is.status.message)
    assert (second.status.output, second.states()) == (as_it_is.status.output, as_it_is.states())


def test_another_spec_finds_the_key_of_a_run_that_has_done_nothing_whatever_its_claim_says() -> None:
    first = failed_having_read()
    wrong = {"state": "InFlight", "effects": "Possible"}
    first.claims[NAME] |= {"data": first.claims[NAME]["data"] | wrong}
    assert another(first, goal="another").go().states() == {"look": "Prepared"}


def test_of_a_run_that_a_later_release_has_ended_the_claim_tells() -> None:
    first = done()
    status = RunStatus(phase=Phase.SUCCEEDED, format_version=FORMAT_VERSION + 1)
    first.run = first.run.model_copy(update={"status": status})
    second = another(first).go()
    assert (stands(second), second.status.output) == (("Succeeded", "AlreadyDone"), {"receipt": "R-1"})


def test_what_a_run_wrote_between_two_looks_counts() -> None:
    first = holder()
    held = claim(first)
    first.succeeds("look").succeeds("pay", "R-1")
    second = Overtaken(another(first).run, dict(PAYS), claims=first.claims, before=[held]).go()
    assert (stands(second), second.approvals) == (("Succeeded", "AlreadyDone"), {})


@pytest.mark.parametrize("then", [None, "third"])
def test_a_claim_that_went_between_two_looks_is_looked_at_again_soon(then: str | None) -> None:
    first = failed_having_read()
    held = claim(first)
    now = held.model_copy(update={"run": then, "run_uid": then}) if then else None
    second = Overtaken(another(first, gone=True).run, dict(PAYS), claims=first.claims, before=[held, now])
    second._pass()
    assert (stands(second), second.decision.wake_at) == (("Pending", "TaskHeld"), later(1))


def test_a_held_run_can_be_cancelled_and_leaves_the_claim_alone() -> None:
    first = holder()
    before = dict(first.claims)
    second = another(first).go().wants(desiredState="Cancelled")
    assert (stands(second), second.claims) == (("Cancelled", "CancelledByUser"), before)


# ------------------------------------------------------------------------------------------- after it has ended


@pytest.mark.parametrize("gone", [False, True])
def test_a_task_that_is_done_is_not_done_again_though_its_run_is_deleted(gone: bool) -> None:
    second = another(done(), gone=gone).go()
    assert (stands(second), second.status.output) == (("Succeeded", "AlreadyDone"), {"receipt": "R-1"})
    assert (second.pods, second.manifests) == ({}, {})


def test_a_task_that_is_done_needs_its_tools_no_more() -> None:
    second = another(done())
    second.tools.clear()
    assert stands(second.go()) == ("Succeeded", "AlreadyDone")


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("first", [failed_having_read, lambda: holder().wants(desiredState="Cancelled")])
def test_a_run_that_only_read_before_it_ended_keeps_nobody_from_trying_again(first: Any, gone: bool) -> None:
    second = another(first(), gone=gone).go()
    assert second.states() == {"look": "Prepared"}
    assert (claim(second).run, claim(second).state) == ("again", "InFlight")


@pytest.mark.parametrize("first", [failed_having_paid, cancelled_having_paid])
def test_a_run_that_may_have_had_effects_stands_for_those_after_it(first: Any) -> None:
    one = first()
    second = another(one, gone=True).go()
    assert second.status.phase is one.status.phase
    assert second.status.reason == f"Already{one.status.phase.value}"
    assert f"run refund-4711 has ended as {one.status.phase.value}, {one.status.reason}" in second.status.message
    assert f"use another idempotencyKey, or have ConfigMap {NAME} deleted" in second.status.message
    assert second.pods == {}
    del second.claims[NAME]
    assert another(second, name="third").go().states() == {"look": "Prepared"}


# ---------------------------------------------------------------------------------------- a holder that is gone


@pytest.mark.parametrize("there", [True, False])
def test_an_effect_that_the_journal_alone_knows_of_stands_for_the_runs_after_it(there: bool) -> None:
    reads = [a_step(f"s{n}") | {"tool": "look"} for n in range(2 * SEGMENT + 1)]
    run = a_run(a_step("pay"), *reads, order="Graph", parallelism=1, idempotencyKey=KEY)
    first = Play(run, {**PAYS, "look": a_tool()}).go()
    for step in first.run.spec.steps[:-1]:
        first.succeeds(step.name)
    first.go(1)
    [segment] = first.status.journal
    assert "pay" in Journal(first.run, (segment,))
    if not there:
        first.answers[JournalSegment(segment, "")] = Lost("gone")
    first.wants(desiredState="Cancelled")
    assert (claim(first).state, claim(first).effects) == (ClaimState.CANCELLED, "Possible")


def test_a_run_that_could_only_read_and_is_gone_leaves_nothing_to_ask_about() -> None:
    first = Play(a_run(a_step("look"), idempotencyKey=KEY)).go()
    run = a_run(a_step("look"), metadata={"name": "again", "uid": "again"}, idempotencyKey=KEY)
    assert Play(run, claims=first.claims).go().states() == {"look": "Prepared"}


def test_a_task_whose_run_is_gone_in_mid_flight_is_asked_about() -> None:
    run = lost(input={"order": "47\u202e11"}, goal="help", requestedBy="bob")
    [asked] = run.approvals.values()
    assert stands(run) == ("AwaitingApproval", "TaskInDoubt")
    assert run.condition("AwaitingApproval") == ("True", "TaskInDoubt")
    assert (run.status.waiting, run.pods) == (f"Approval/{asked.metadata.name}", {})
    spec = run.manifests[asked.metadata.name]["spec"]
    assert (spec["purpose"], "step" in spec, "tool" in spec) == ("InDoubt", False, False)
    assert spec["runRef"] == {"name": "again", "uid": "again"}
    request = spec["request"]
    assert request["summary"] == "Did this happen? The whole task refund-4711, which run refund-4711 had begun"
    assert (request["args"], request["goal"], request["requestedBy"]) == ({"order": r"47\u202e11"}, "help", "bob")
    assert "calls look, pay: what did happen happens twice" in request["onRunAgain"]
    assert str(request).isprintable()
    assert run.decision.wake_at is None


def test_happened_ends_the_run_with_the_output_a_person_vouches_for() -> None:
    run = lost().decides("", "Happened", output={"receipt": "R-9"}, reason="seen at the bank")
    assert (stands(run), run.status.output) == (("Succeeded", "AlreadyDone"), {"receipt": "R-9"})
    assert "alice@example.com says that it has done this task: seen at the bank" in run.status.message
    assert run.status.decision is not None
    assert (run.status.decision.verdict, run.status.decision.by) == ("Happened", "alice@example.com")
    assert (run.pods, run.approval_states()) == ({}, ["Settled"])
    assert stands(another(run, name="third").go()) == ("Succeeded", "AlreadyDone")


def test_what_a_person_said_is_kept_in_the_claim_before_the_run_is_recorded() -> None:
    run = lost().decides("", "Happened", output={"receipt": "R-9"})
    crashed = Play(another(run, gone=True).run, dict(PAYS), claims=run.claims).go()
    asked = {"approval": run.status.approval, "shown_digest": run.status.shown_digest}
    assert (crashed.status.model_copy(update=asked), crashed.approvals) == (run.status, {})


def test_a_run_that_is_cancelled_though_a_person_said_that_it_happened_does_not_free_the_task() -> None:
    run = lost().decides("", "Happened", output={"receipt": "R-9"})
    crashed = Play(another(run, gone=True, desiredState="Cancelled").run, dict(PAYS), claims=run.claims).go()
    assert stands(crashed) == ("Cancelled", "CancelledByUser")
    assert stands(another(crashed, name="third").go()) == ("Cancelled", "AlreadyCancelled")


@pytest.mark.parametrize("nothing", [None, {}])
def test_happened_without_an_output_is_done_with_none(nothing: Any) -> None:
    run = lost().decides("", "Happened", output=nothing)
    assert (stands(run), run.status.output) == (("Succeeded", "AlreadyDone"), None)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (["R-9"], "decision.output must be an object"),
        ({"x": "y" * OUTPUT_LIMIT}, "decision.output has 65544 bytes; at most 65536 are taken"),
        (Lost("decision.output is nested too deeply"), "decision.output is nested too deeply"),
    ],
)
def test_an_output_that_cannot_be_a_runs_is_asked_for_anew(output: Any, said: str) -> None:
    run = lost()
    first = run.status.waiting
    for times in (1, 2):
        run.decides("", "Happened", output=output)
        assert (stands(run), run.status.asked_anew) == (("AwaitingApproval", "TaskInDoubt"), times)
        assert run.status.message.count(said) == 1
        assert run.status.waiting not in ("", first)
        assert said in run.manifests[run.status.waiting_for[0].name]["spec"]["request"]["outcome"]
    assert stands(run.decides("", "Happened", output={"receipt": 1})) == ("Succeeded", "AlreadyDone")


def test_fail_ends_the_run_and_the_task() -> None:
    run = lost().decides("", "Fail", reason="paid by hand")
    assert stands(run) == ("Failed", "InDoubt")
    assert "alice@example.com let the task fail: paid by hand" in run.status.message
    assert stands(another(run, name="third").go()) == ("Failed", "AlreadyFailed")


def test_an_answer_that_cannot_be_kept_in_the_claim_is_kept_later() -> None:
    run = lost()
    run.refused["change"] = Refusal("denied by somebody's webhook", for_now=False)
    run.decides("", "Fail")
    assert (stands(run), run.decision.wake_at) == (("Pending", "CreationRefused"), later(10))
    assert "refused to store that in the claim of the task: denied by somebody's webhook" in run.status.message
    run.refused.clear()
    assert stands(run.go(10)) == ("Failed", "InDoubt")


def test_run_again_begins_only_when_the_pods_of_the_one_before_have_ended() -> None:
    run = lost()
    run.pods_of_gone_runs = (a_pod(name="old"), a_pod(name="ended", phase="Failed"))
    run.decides("", "RunAgain")
    assert (stands(run), run.pods, claim(run).run) == (("Pending", "TaskHeld"), {}, "refund-4711")
    assert (run.status.waiting, run.decision.wake_at) == ("Pod/old", later(15))
    run.pods_of_gone_runs = (a_pod(name="gated", node="", gated=True, phase="Pending"),)
    assert run.go(15).pods == {}
    run.pods_of_gone_runs = (a_pod(name="gated", node="", deleting=True, phase="Pending"),)
    assert run.go(15).states() == {"look": "Prepared"}
    assert (claim(run).run, claim(run).state) == ("again", "InFlight")
    assert run.status.decision is not None
    assert run.status.decision.verdict == "RunAgain"


def test_what_was_in_doubt_once_stays_so_for_the_runs_after_it() -> None:
    run = lost().decides("", "RunAgain").fails("look")
    assert stands(run) == ("Failed", "StepFailed")
    assert stands(another(run, name="third").go()) == ("Failed", "AlreadyFailed")


def test_a_run_that_crashed_after_it_took_the_task_over_keeps_whose_word_that_was() -> None:
    run = lost().decides("", "RunAgain")
    crashed = Play(another(run, gone=True).run, dict(PAYS), claims=run.claims).go()
    assert (crashed.status.decision, crashed.approvals) == (run.status.decision, {})


def test_a_question_put_in_other_words_by_an_earlier_release_counts_as_it_was_shown() -> None:
    run = lost()
    [(name, asked)] = run.approvals.items()
    assert (run.status.approval, run.status.shown_digest) == (name, asked.spec.request)
    body = asked.model_dump(mode="json", by_alias=True)
    run.approvals[name] = Approval.model_validate(body | {"spec": body["spec"] | {"request": {"summary": "as it was"}}})
    shown = {"shown_digest": run.approvals[name].spec.request}
    run.run = run.run.model_copy(update={"status": run.status.model_copy(update=shown)})
    assert run.decides("", "RunAgain").states() == {"look": "Prepared"}


def test_another_holder_is_another_question() -> None:
    run = lost()
    first = run.status.waiting
    body = run.claims[NAME]
    run.claims[NAME] = body | {"data": body["data"] | {"runUid": "else"}}
    assert run.go().status.waiting not in ("", first)


def test_no_answer_counts_where_it_could_be_forged() -> None:
    run = lost()
    run.answers[PolicyEnforced(NAMESPACE)] = False
    run.decides("", "RunAgain")
    assert (stands(run), run.pods) == (("AwaitingApproval", "PolicyNotEnforced"), {})
    assert (run.decision.wake_at, run.condition("Stalled")[0]) == (later(15), "True")
    run.answers[PolicyEnforced(NAMESPACE)] = True
    assert run.go(15).states() == {"look": "Prepared"}


def test_an_approval_that_somebody_else_made_does_not_count() -> None:
    run = lost()
    [(name, asked)] = run.approvals.items()
    body = asked.model_dump(mode="json", by_alias=True)
    body["spec"]["digest"] = f"sha256:{'0' * 64}"
    run.approvals[name] = Approval.model_validate(body)
    run.decides("", "RunAgain")
    assert (stands(run), run.pods) == (("AwaitingApproval", "ForeignApproval"), {})
    del run.approvals[name]
    assert stands(run.go()) == ("AwaitingApproval", "TaskInDoubt")


def test_a_question_that_cannot_be_stored_is_put_later() -> None:
    run = another(holder(), gone=True)
    run.refused["Approval"] = Refusal("exceeded quota", for_now=True)
    run.go()
    assert (stands(run), run.status.message) == (("Pending", "CreationRefused"), "exceeded quota")
    assert run.decision.wake_at == later(10)


def test_a_cancelled_run_asks_no_more_and_leaves_the_doubt_in_the_claim() -> None:
    run = lost().wants(desiredState="Cancelled")
    assert (run.status.phase, run.approval_states()) == (Phase.CANCELLED, ["Superseded"])
    assert claim(run).state == "InFlight"


# -------------------------------------------------------------------------------------- what the claim is left with


def unrecorded(run: Play) -> Play:
    """The same run after a crash: its claim says how it ended, its status does not."""
    before = [it for it in run.recorded if it.phase not in FINAL_PHASES][-1]
    return Play(
        run.run.model_copy(update={"status": before}),
        dict(PAYS),
        pods=dict(run.pods),
        results=dict(run.results),
        stored=dict(run.stored),
        policies=run.policies,
        claims=dict(run.claims),
    )


@pytest.mark.parametrize("end", [done, failed_having_read, failed_having_paid, cancelled_having_paid])
def test_the_claim_holds_the_outcome_before_the_run_is_recorded_as_ended(end: Any) -> None:
    run = end()
    held = claim(run)
    assert (held.state, held.reason, held.message) == (run.status.phase.value, run.status.reason, run.status.message)
    assert (held.result, held.finished_at) == (run.status.output, NOW)
    unwritten = unrecorded(run)
    unwritten.claims = holder().claims
    decision = unwritten._decided({})
    early = not held.is_undone
    assert list(map(type, decision.preparations)) == [WriteClaim] * early
    assert (decision.status.phase in FINAL_PHASES, decision.actions) == (not early, ())


class Busy(Play):
    """A run for which every expression takes too long, since the machine is busy."""

    def _answer(self, question: Question) -> Any:
        too_long = isinstance(question, Evaluation)
        return ExpressionError("takes too long") if too_long else super()._answer(question)


def test_a_run_that_goes_on_though_its_end_was_decided_once_is_asked_about_when_it_is_gone() -> None:
    """The end was not recorded, and is not decided again: by a claim that said so another would do the task as well."""
    steps = (a_step("look"), a_step("pay", args={"x": "${steps.look.output.all.map(x, x + 1)}"}))
    run = Busy(a_run(*steps, idempotencyKey=KEY), dict(PAYS)).go()
    run.starts("look").says("look", {"all": [1]}).ends("look")
    before = run.run
    run._pass()
    assert stands(run)[0] == "Failed"
    run = Play(before, dict(PAYS), pods=run.pods, stored=run.stored, results=run.results, claims=run.claims).go()
    assert run.starts("pay").states()["pay"] == "Prepared"
    assert stands(another(run, gone=True, steps=steps, output={}).go()) == ("AwaitingApproval", "TaskInDoubt")


def test_for_a_while_it_is_looked_after_that_the_claim_of_a_run_that_has_done_nothing_says_so() -> None:
    ended = failed_having_read()
    for seconds, state in ((599, "Failed"), (600, "InFlight")):
        slept = Play(ended.run, dict(PAYS), claims=dict(holder().claims), pods=ended.pods)
        assert claim(slept.go(seconds)).state == state


@pytest.mark.parametrize("end", [done, failed_having_read, failed_having_paid])
def test_a_run_that_crashed_before_its_end_was_recorded_comes_to_the_same_end(end: Any) -> None:
    run = end()
    crashed = unrecorded(run).go()
    assert (stands(crashed), crashed.status.output) == (stands(run), run.status.output)
    assert crashed.claims == run.claims


def test_a_run_that_comes_to_another_end_after_all_rewrites_its_claim() -> None:
    run = done()
    crashed = unrecorded(run).wants(desiredState="Cancelled")
    assert stands(crashed) == ("Cancelled", "CancelledByUser")
    assert (claim(crashed).state, claim(crashed).effects, claim(crashed).output) == ("Cancelled", "Possible", "")


def test_who_slept_through_a_run_does_not_take_back_the_effects_that_its_claim_tells_of() -> None:
    run = failed_having_paid()
    asleep = Play(run.run.model_copy(update={"status": RunStatus()}), dict(PAYS), claims=dict(run.claims)).go()
    assert stands(asleep) == stands(run)
    assert claim(asleep).effects == "Possible"
    assert stands(another(asleep, gone=True).go()) == ("Failed", "AlreadyFailed")


def test_a_run_that_was_cancelled_between_its_claim_and_its_beginning_frees_the_task() -> None:
    first = holder()
    body = first.run.model_copy(update={"status": RunStatus()})
    cancelled = Play(body, dict(PAYS), claims=first.claims).wants(desiredState="Cancelled")
    assert (stands(cancelled), claim(cancelled).effects) == (("Cancelled", "CancelledByUser"), "None")


def test_a_run_is_deleted_by_its_time_to_live_only_when_its_claim_holds_the_result() -> None:
    run = holder(ttlAfterFinished="30m").succeeds("look").succeeds("pay", "R-1")
    assert (run.decision.wake_at, claim(run).state) == (later(1800), "Succeeded")
    assert run.go(1800).actions(DeleteRun)
    unwritten = unrecorded(run)
    unwritten.claims, unwritten.now = holder().claims, later(86_400)
    decision = unwritten._decided({})
    assert list(map(type, decision.preparations)) == [WriteClaim]
    assert decision.actions == ()


# --------------------------------------------------------------------------------- a claim that people have changed


@pytest.mark.parametrize(
    "data",
    [
        {"finishedAt": "2026-01-01"},
        {"finishedAt": "2026-01-01T00:00:00"},
        {"lastUsedAt": "soon"},
        {"output": "[" * 60_000},
    ],
)
def test_what_people_have_mended_wrongly_is_no_claim(data: dict[str, str]) -> None:
    body = done().claims[NAME]
    assert isinstance(read_claim(body | {"data": body["data"] | data}), Lost)


def test_while_a_run_is_under_way_nobody_begins_its_task_though_its_claim_was_removed() -> None:
    first = holder()
    first.claims.clear()
    second = another(first).go()
    assert (stands(second), second.pods, second.claims) == (("Pending", "TaskHeld"), {}, {})
    first.succeeds("look").succeeds("pay", "R-1")
    assert (stands(first), claim(first).state) == (("Succeeded", "Completed"), "Succeeded")
    assert (stands(second.go()), second.status.output) == (("Succeeded", "AlreadyDone"), {"receipt": "R-1"})


def test_while_a_run_is_under_way_nobody_begins_its_task_though_its_claim_was_changed() -> None:
    first, ended = holder(), failed_having_read()
    first.claims[NAME] = ended.claims[NAME] | {"data": ended.claims[NAME]["data"] | {"runUid": "else"}}
    assert stands(another(first).go()) == ("Pending", "TaskHeld")


def test_a_run_whose_claim_names_another_run_ends_as_usual_and_says_so() -> None:
    first = holder()
    body = first.claims[NAME]
    first.claims[NAME] = theirs = body | {"data": body["data"] | {"run": "other", "runUid": "other"}}
    first.succeeds("look").succeeds("pay", "R-1")
    assert (stands(first), first.claims[NAME]) == (("Succeeded", "Completed"), theirs)
    assert f"later runs of its task may not find its outcome: ConfigMap {NAME} names run other" in first.status.message
    assert "may not find its outcome" in first.condition_message("Succeeded")


def test_a_run_whose_outcome_cannot_be_kept_ends_as_usual_and_says_so() -> None:
    first = holder()
    first.claims.clear()
    first.refused["ConfigMap"] = Refusal("exceeded quota", for_now=True)
    first.succeeds("look").succeeds("pay", "R-1")
    assert stands(first) == ("Succeeded", "Completed")
    assert first.status.message.endswith("later runs of its task may not find its outcome: exceeded quota")


def test_a_run_whose_outcome_may_not_be_written_ends_as_usual_and_says_so() -> None:
    first = holder()
    first.refused["change"] = Refusal("denied by somebody's webhook", for_now=False)
    first.succeeds("look").succeeds("pay", "R-1")
    assert (stands(first), claim(first).state) == (("Succeeded", "Completed"), "InFlight")
    assert first.status.message.endswith("may not find its outcome: denied by somebody's webhook")
    second = another(first, gone=True).go()
    assert (stands(second), second.pods) == (("AwaitingApproval", "TaskInDoubt"), {})


@pytest.mark.parametrize(
    ("labels", "data", "said"),
    [
        ({}, {}, f"a ConfigMap {NAME} of somebody else is there"),
        ({"app.kubernetes.io/managed-by": "agentruns"}, {"state": "?"}, "cannot be read as the claim of a task"),
        ({"app.kubernetes.io/managed-by": "agentruns"}, {"output": "{"}, "cannot be read as the claim of a task"),
        ({"app.kubernetes.io/managed-by": "agentruns"}, {"runUid": None}, "cannot be read as the claim of a task"),
    ],
)
def test_what_this_operator_did_not_write_is_believed_by_nobody(
    labels: dict[str, str], data: dict[str, Any], said: str
) -> None:
    ended, under_way = done(), holder()
    body = ended.claims[NAME]
    forged = body | {"metadata": body["metadata"] | {"labels": labels}, "data": body["data"] | data}
    ended.claims[NAME] = under_way.claims[NAME] = forged
    second = another(ended, gone=True).go()
    assert (stands(second), second.pods, second.decision.wake_at) == (("Pending", "CreationRefused"), {}, later(10))
    assert said in second.status.message
    under_way.succeeds("look").succeeds("pay", "R-1")
    assert stands(under_way) == ("Succeeded", "Completed")
    assert said in under_way.status.message
