"""One task, however many runs of it: on a real cluster it is done once, and a doubt about it is asked about."""

from __future__ import annotations

from typing import Any

from agentruns.core.naming import claim_name

from tests.accounts import Body
from tests.integration.operator_process import OperatorProcess
from tests.space import ECHO, Space, says, step
from tests.waiting import until

KEY = "refund-4711"
# It may not be repeated: a run of it that is lost leaves a doubt.
NON_IDEMPOTENT = {"effect": "NonIdempotent", "approval": "Never"}
OUTPUT = {"receipt": "${steps.pay.output}"}


def start(space: Space, name: str, **spec: Any) -> Body:
    """A run of the task, whose only step pays."""
    return space.start(name, step("pay", "pay"), **{"idempotencyKey": KEY, "output": OUTPUT} | spec)


def claimed(space: Space) -> dict[str, str]:
    """What the claim of the task says."""
    return dict(space.get("configmaps", claim_name(space.name, KEY))["data"])


def test_a_second_run_waits_for_the_first_and_another_spec_is_refused(space: Space) -> None:
    space.tool("pay", says("R-1"), effect="NonIdempotent")
    start(space, "first")
    space.question("first")
    assert (claimed(space)["run"], claimed(space)["state"]) == ("first", "InFlight")
    start(space, "second")
    until(lambda: space.status("second").get("reason") == "TaskHeld", "the second run waits for the first")
    assert space.status("second")["waiting"] == "AgentRun/first"
    start(space, "other", input={"order": "4712"})
    refused = space.ended("other")
    assert (refused["phase"], refused["reason"]) == ("Failed", "IdempotencyConflict")
    assert "the task of run first" in refused["message"]
    space.decided("first", "Approve")
    assert space.ended("first")["output"] == {"receipt": "R-1"}
    second = space.ended("second")
    assert (second["phase"], second["reason"], second["output"]) == ("Succeeded", "AlreadyDone", {"receipt": "R-1"})
    assert [space.pods(run) for run in ("second", "other")] == [[], []]
    assert (claimed(space)["run"], claimed(space)["state"]) == ("first", "Succeeded")


def test_a_run_that_is_made_again_after_its_time_to_live_does_nothing_twice(space: Space) -> None:
    space.tool("pay", says("R-1"), **NON_IDEMPOTENT)
    first = start(space, "gitops", ttlAfterFinished="2s")
    until(lambda: space.find("agentruns", "gitops") is None, "the run is deleted when its time is over", 120)
    again = start(space, "gitops", ttlAfterFinished="1h")
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    status = space.ended("gitops")
    assert (status["phase"], status["reason"], status["output"]) == ("Succeeded", "AlreadyDone", {"receipt": "R-1"})
    assert space.pods("gitops") == []


def test_a_run_that_failed_after_it_had_only_read_can_be_made_again(space: Space) -> None:
    space.tool("pay", "import sys; sys.exit(65)")
    for run in ("first", "second"):
        start(space, run)
        assert space.ended(run)["reason"] == "StepFailed"
        assert len(space.pods(run)) == 1
    assert claimed(space)["run"] == "second"


def test_a_key_under_which_nothing_was_done_is_there_for_another_spec(space: Space) -> None:
    space.tool("pay", "import sys; sys.exit(65)", **NON_IDEMPOTENT)
    start(space, "first")
    assert space.ended("first")["reason"] == "StepFailed"
    space.tool("mended", says("R-1"), **NON_IDEMPOTENT)
    space.start("second", step("pay", "mended"), idempotencyKey=KEY, output=OUTPUT)
    assert space.ended("second")["output"] == {"receipt": "R-1"}
    assert (claimed(space)["run"], claimed(space)["state"]) == ("second", "Succeeded")


def test_a_run_whose_claim_was_removed_outlives_its_time_to_live(space: Space) -> None:
    space.tool("pay", says("R-1"), **NON_IDEMPOTENT)
    for name in ("removed", "kept"):
        start(space, name, idempotencyKey=name)
        assert space.ended(name)["phase"] == "Succeeded"
    space.delete("configmaps", claim_name(space.name, "removed"))
    for name in ("removed", "kept"):
        assert space.want(name, ttlAfterFinished="1s").status == 200
    until(
        lambda: space.find("agentruns", "kept") is None, "the run whose claim stands is deleted, and its turn came last"
    )
    assert "deletionTimestamp" not in space.get("agentruns", "removed")["metadata"]


def test_a_run_that_failed_and_may_have_paid_is_not_made_again(space: Space) -> None:
    space.tool("pay", "print('no JSON')", **NON_IDEMPOTENT)
    start(space, "first")
    assert space.ended("first")["reason"] == "InvalidResult"
    start(space, "second")
    status = space.ended("second")
    assert (status["phase"], status["reason"]) == ("Failed", "AlreadyFailed")
    assert space.pods("second") == []


def test_a_run_that_is_gone_in_mid_flight_is_asked_about(space: Space) -> None:
    space.tool("pay", "import time; time.sleep(600)", **NON_IDEMPOTENT)
    start(space, "lost")
    space.step_reached("lost", "pay", "Running")
    space.delete("agentruns", "lost")
    until(lambda: space.find("agentruns", "lost") is None, "the run is gone")
    start(space, "again")
    asked = space.question("again")
    assert space.status("again")["reason"] == "TaskInDoubt"
    assert ("step" in asked["spec"], "tool" in asked["spec"], asked["spec"]["purpose"]) == (False, False, "InDoubt")
    space.decided("again", "Happened", output={"receipt": "R-9"}, reason="seen at the bank")
    status = space.ended("again")
    assert (status["phase"], status["reason"], status["output"]) == ("Succeeded", "AlreadyDone", {"receipt": "R-9"})
    assert status["decision"]["verdict"] == "Happened"
    assert (space.pods("again"), claimed(space)["state"]) == ([], "Succeeded")


def test_a_lost_task_runs_again_when_a_person_says_so(space: Space) -> None:
    space.tool("pay", says("R-1"), effect="NonIdempotent")
    start(space, "lost")
    space.question("lost")
    space.delete("agentruns", "lost")
    until(lambda: space.find("agentruns", "lost") is None, "the run is gone")
    start(space, "again")
    space.decided("again", "RunAgain", reason="it had not been approved")
    until(lambda: space.status("again").get("reason") == "StepAwaitsApproval", "the task has begun anew")
    space.decided("again", "Approve")
    status = space.ended("again")
    assert (status["phase"], status["output"], status["decision"]["verdict"]) == (
        "Succeeded", {"receipt": "R-1"}, "RunAgain",
    )  # fmt: skip
    assert (claimed(space)["run"], claimed(space)["state"]) == ("again", "Succeeded")


def test_an_operator_that_is_killed_keeps_the_task(space: Space, operator: OperatorProcess) -> None:
    space.tool("pay", ECHO, approval="Always")
    start(space, "first")
    space.question("first")
    start(space, "second")
    until(lambda: space.status("second").get("reason") == "TaskHeld", "the second run waits for the first")
    operator.kill()
    space.decided("first", "Approve")
    operator.start()
    assert space.ended("first")["reason"] == "Completed"
    assert space.ended("second")["reason"] == "AlreadyDone"
    assert space.pods("second") == []
