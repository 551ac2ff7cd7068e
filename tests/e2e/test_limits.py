"""What people and limits do to a run underway: pause, cancel, deadline, time to live, deletion."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.accounts import Body
from tests.commands import kubectl
from tests.space import ECHO, Space, step, steps_of
from tests.waiting import until

SLEEP = "import time; time.sleep(600)"
NAP = "import time; time.sleep(3); print('null')"


@pytest.fixture(scope="module")
def tools(shared_space: Space) -> Space:
    """A space with what the runs of this module need."""
    for name, program in (("echo", ECHO), ("sleep", SLEEP), ("nap", NAP)):
        shared_space.tool(name, program)
    return shared_space


def has_ended(pod: Body) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def assert_stopped(space: Space, run: str, of: str) -> None:
    """Its pod was stopped, is kept for its log, and nothing holds it."""
    [pod] = space.pods(run, of)
    assert has_ended(pod)
    until(lambda: "finalizers" not in space.pods(run, of)[0]["metadata"], "the pod is released", 30)


def test_a_paused_run_finishes_what_is_in_flight_and_starts_nothing(tools: Space) -> None:
    tools.start("pauses", step("first", "nap"), step("second", "echo"))
    tools.step_reached("pauses", "first", "Prepared", "Running")
    assert tools.want("pauses", desiredState="Paused").status == 200
    first = tools.step_reached("pauses", "first", "Succeeded")
    status = tools.reached("pauses", "Paused")
    assert first["reason"] == "Completed"
    assert steps_of(status).get("second", {}).get("state", "Pending") == "Pending"
    assert tools.pods("pauses", "second") == []
    assert tools.want("pauses", desiredState="Running").status == 200
    assert tools.ended("pauses")["phase"] == "Succeeded"


def test_a_cancelled_run_stops_its_pods_and_says_what_was_done(tools: Space) -> None:
    tools.start("cancels", step("first", "echo"), step("second", "sleep"), step("third", "echo"))
    tools.step_reached("cancels", "second", "Running")
    assert tools.want("cancels", desiredState="Cancelled").status == 200
    status = tools.ended("cancels")
    assert (status["phase"], status["reason"]) == ("Cancelled", "CancelledByUser")
    assert "done before: first" in status["message"]
    assert_stopped(tools, "cancels", "second")
    assert tools.pods("cancels", "third") == []
    assert tools.get("agentruns", "cancels")["status"] == status


def test_a_run_that_waits_can_be_cancelled(tools: Space) -> None:
    tools.start("waits", step("first", "echo", approval="Always"))
    asked = tools.question("waits")
    tools.want("waits", desiredState="Cancelled")
    assert tools.ended("waits")["phase"] == "Cancelled"
    name = asked["metadata"]["name"]
    until(lambda: tools.get("approvals", name).get("status", {}).get("state") == "Superseded", "nobody is asked more")
    assert tools.pods("waits") == []


def test_a_run_ends_at_its_deadline(tools: Space) -> None:
    tools.start("late", step("first", "sleep"), deadline="3s")
    status = tools.ended("late")
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert "3" in status["message"]
    assert_stopped(tools, "late", "first")


def test_waiting_for_a_person_does_not_count(tools: Space) -> None:
    """Another run that began later reaches the same deadline, while the first one still waits."""
    tools.start("patient", step("first", "echo", approval="Always"), deadline="3s")
    asked = tools.question("patient")
    tools.start("impatient", step("first", "sleep"), deadline="3s")
    assert tools.ended("impatient")["reason"] == "DeadlineExceeded"
    assert tools.status("patient")["phase"] == "AwaitingApproval"
    assert tools.decide(asked, "Approve").status == 200
    assert tools.ended("patient")["phase"] == "Succeeded"


def test_a_finished_run_goes_when_its_time_is_over(tools: Space) -> None:
    tools.start("short-lived", step("first", "echo"), idempotencyKey="once", ttlAfterFinished="2s")
    pods = until(lambda: tools.pods("short-lived"), "it has a pod")
    until(lambda: tools.find("agentruns", "short-lived") is None, "the run is gone")
    uid = pods[0]["metadata"]["uid"]
    until(lambda: uid not in [it["metadata"]["uid"] for it in tools.all("pods")], "its pod is gone with it")


def test_what_a_run_made_goes_with_it(tools: Space) -> None:
    owned = [step("first", "echo"), step("second", "sleep"), step("third", "echo", needs=["first"], approval="Always")]
    run = tools.start("goes", *owned, order="Graph")
    tools.step_reached("goes", "third", "AwaitingApproval")
    tools.step_reached("goes", "second", "Running")
    tools.delete("agentruns", "goes")

    def left() -> list[str]:
        found = [*tools.all("pods"), *tools.all("approvals"), *tools.all("configmaps")]
        owners = [(it["metadata"]["name"], it["metadata"].get("ownerReferences", [])) for it in found]
        return [name for name, by in owners if any(it["uid"] == run["metadata"]["uid"] for it in by)]

    assert left()
    until(lambda: not left(), lambda: f"nothing of the run is left, but {left()}")


def test_a_run_made_anew_under_the_same_name_starts_afresh(tools: Space) -> None:
    first = tools.start("again", step("first", "echo"), step("second", "echo", approval="Always"))
    tools.question("again")
    tools.delete("agentruns", "again")
    second = tools.start("again", step("first", "echo"), step("second", "echo", approval="Always"))
    tools.decided("again", "Approve")
    status = tools.ended("again")
    assert status["phase"] == "Succeeded"
    assert datetime.fromisoformat(status["startedAt"]) >= datetime.fromisoformat(
        second["metadata"]["creationTimestamp"]
    )
    labels = {it["metadata"]["uid"]: it["metadata"]["labels"]["agentrun.dev/run-uid"] for it in tools.all("pods")}
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert {labels[it["podUID"]] for it in status["steps"]} == {second["metadata"]["uid"]}


def test_a_namespace_goes_though_a_step_in_it_is_in_doubt(space: Space) -> None:
    """Its pods go first, and everything else waits for that."""
    space.tool("doubtful", "exit(3)", effect="NonIdempotent", approval="Never")
    space.start("doubtful", step("first", "doubtful"))
    assert space.question("doubtful")["spec"]["purpose"] == "InDoubt"
    kubectl("delete", "namespace", space.name, "--timeout=60s")


def test_a_namespace_goes_though_a_call_in_it_is_in_flight(space: Space) -> None:
    """It is stopped, which leaves a doubt, and nobody can be asked where nothing can be made any more."""
    space.tool("slow", "import time; time.sleep(300)", effect="NonIdempotent", approval="Never")
    space.start("slow", step("first", "slow"))
    until(lambda: [it["state"] for it in space.status("slow").get("steps", [])] == ["Running"], "the call is in flight")
    kubectl("delete", "namespace", space.name, "--timeout=60s")
