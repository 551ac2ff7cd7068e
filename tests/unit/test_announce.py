"""What is told of a recorded transition: once, in words, and without arguments or outputs."""

from itertools import pairwise
from typing import Any

from agentruns.announce import Told, transitions
from agentruns.core.records import RunStatus, StepStatus

from tests.unit.builders import a_step, a_tool
from tests.unit.play import play

SECRET = "s3cret"


def a_status(phase: str, reason: str = "", waiting: str = "", **steps: dict[str, Any]) -> RunStatus:
    """A recorded status with these steps."""
    records = tuple(StepStatus.model_validate({"name": name, **fields}) for name, fields in steps.items())
    return RunStatus.model_validate(
        {"phase": phase, "reason": reason, "waiting": waiting, "progress": "0/2"}
    ).model_copy(update={"steps": records})


def test_nothing_is_told_where_nothing_changed() -> None:
    status = a_status("Running", "StepsInFlight", a={"state": "Running", "attempt": 1})
    assert transitions(status, status) == []
    assert transitions(status, status.model_copy(update={"message": "other"})) == []


def test_a_run_is_told_from_its_first_record_on() -> None:
    assert transitions(RunStatus(), a_status("Pending", "WaitingForTool")) == [
        Told("RunPending", "WaitingForTool, 0/2 steps are done", warning=False)
    ]


def test_what_a_run_waits_for_is_told() -> None:
    after = a_status("AwaitingApproval", "StepAwaitsApproval", "Approval/run-a-0a1b2c3d")
    assert [it.message for it in transitions(RunStatus(), after)] == [
        "StepAwaitsApproval, 0/2 steps are done, waits for Approval/run-a-0a1b2c3d"
    ]


def test_steps_are_told_before_their_run() -> None:
    before = a_status("Running", "StepsInFlight", a={"state": "Running", "attempt": 1}, b={"state": "Prepared"})
    after = a_status(
        "Failed", "Permanent", a={"state": "Failed", "reason": "Permanent", "attempt": 1}, b={"state": "Prepared"}
    )
    assert transitions(before, after) == [
        Told(
            "StepFailed",
            "step a (attempt 1) is Failed: Permanent; the status says why",
            warning=True,
            step="a",
            attempt=1,
        ),
        Told("RunFailed", "Permanent, 0/2 steps are done; the status says why", warning=True),
    ]


def test_a_step_without_an_attempt_is_told_without_one() -> None:
    before = a_status("Running", "r")
    after = a_status("Running", "r", a={"state": "AwaitingApproval", "reason": "AwaitingDecision"})
    assert [it.message for it in transitions(before, after)] == ["step a is AwaitingApproval: AwaitingDecision"]


def test_another_attempt_is_told_though_the_state_is_the_same() -> None:
    before = a_status("Running", "r", a={"state": "Prepared", "attempt": 1})
    after = a_status("Running", "r", a={"state": "Prepared", "attempt": 2, "reason": "Prepared", "pod": "p"})
    assert [it.message for it in transitions(before, after)] == ["step a (attempt 2) is Prepared, in pod p"]


def test_an_attempt_after_a_persons_word_is_told_apart_from_the_first() -> None:
    after = a_status(
        "Running", "r", a={"state": "Prepared", "attempt": 1, "epoch": 1, "reason": "Prepared", "pod": "p"}
    )
    [told] = transitions(RunStatus(), after)  # that the run goes on, its step tells
    assert told.message == "step a (attempt 1 of round 2) is Prepared, in pod p"


def test_a_doubt_that_is_asked_about_anew_is_told_anew() -> None:
    before = a_status("AwaitingApproval", "StepInDoubt", a={"state": "InDoubt", "attempt": 1})
    after = a_status("AwaitingApproval", "StepInDoubt", a={"state": "InDoubt", "attempt": 1, "askedAnew": 1})
    assert [it.reason for it in transitions(before, after)] == ["StepInDoubt"]


def test_a_doubt_is_told_with_the_approval_that_asks_about_it() -> None:
    tools = {"pay": a_tool(effect="NonIdempotent")}
    run = play(a_step("pay"), tools=tools).decides("pay", "Approve").fails("pay", exit_code=137)
    run.decides("pay", "RunAgain").fails("pay", exit_code=137)
    told = [it for before, after in pairwise(run.recorded) for it in transitions(before, after)]
    asks = [it.message.rpartition("/")[2] for it in told if it.reason == "RunAwaitingApproval"]
    assert asks == list(run.approvals)
    assert len(asks) == 3


def test_a_doubt_is_a_warning() -> None:
    after = a_status("AwaitingApproval", "StepInDoubt", a={"state": "InDoubt", "attempt": 1})
    assert [it.warning for it in transitions(RunStatus(), after)] == [True, False]


def test_neither_arguments_nor_outputs_are_told() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    tools = {"b": a_tool(inputSchema={"properties": {"x": {"type": "integer"}}})}
    run = play(a_step("a", args={"x": SECRET}), a_step("b", args={"x": "${steps.a.output.x}"}),
               tools=tools | {"a": a_tool(outputSchema=schema)})  # fmt: skip
    told = transitions(RunStatus(), run.status)
    told += transitions(run.status, run.succeeds("a", {"x": SECRET}).status)
    assert run.status.reason == "InvalidSpec"
    told += transitions(RunStatus(), play(a_step("a")).starts("a").says("a", error_class="Permanent", message=SECRET)
                        .ends("a", 65).go().status)  # fmt: skip
    assert told
    assert not any(SECRET in it.message for it in told)
