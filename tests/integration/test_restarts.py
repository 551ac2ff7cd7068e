"""The operator is killed at the worst moments, and nobody notices: nothing is lost, repeated or approved."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.commands import kubectl, kubectl_command
from tests.integration.operator_process import OperatorProcess
from tests.space import ECHO, Space, says, step, steps_of
from tests.waiting import until

RUNS = ("red", "green", "blue")
STEPS = ("one", "two", "three", "four")
KILLS = 5
TOUCHES = 50
EFFECT = """
import json, sys, time
print("the effect happens", file=sys.stderr, flush=True)
time.sleep(0.5)
print(json.dumps({"done": json.load(sys.stdin)["before"] + 1}))
"""
# It may not be repeated: whatever is not known for certain after a restart would end InDoubt.
NON_IDEMPOTENT = {"effect": "NonIdempotent", "approval": "Never"}


@contextmanager
def pods_made(space: Space, log: Path) -> Iterator[Callable[[], dict[str, str]]]:
    """Tells the name of every pod that was ever in the space, by UID, as long as it is being watched."""
    columns = "--output=custom-columns=:.metadata.uid,:.metadata.name"
    command = kubectl_command("get", "pods", f"--namespace={space.name}", "--watch", "--no-headers", columns)
    with log.open("w") as lines, subprocess.Popen(command, stdout=lines) as watching:
        try:
            yield lambda: dict(line.split() for line in log.read_text().splitlines())
        finally:
            watching.kill()


def test_killed_again_and_again_nothing_is_lost_and_nothing_repeated(
    space: Space, operator: OperatorProcess, tmp_path: Path
) -> None:
    space.tool("effect", EFFECT, **NON_IDEMPOTENT)
    with pods_made(space, tmp_path / "pods") as made:
        for run in RUNS:
            befores = ["${0}", *(f"${{steps.{name}.output.done}}" for name in STEPS[:-1])]
            steps = [step(name, "effect", args={"before": it}) for name, it in zip(STEPS, befores, strict=True)]
            space.start(run, *steps, output={"done": "${steps.four.output.done}"})
        for kill in range(KILLS):
            until(lambda: len(made()) > 2 * kill, f"more than {2 * kill} pods were made")  # noqa: B023
            operator.kill()
            operator.start()
        ended = {run: space.ended(run) for run in RUNS}
        assert {run: (status["phase"], status.get("output")) for run, status in ended.items()} == {
            run: ("Succeeded", {"done": 4}) for run in RUNS
        }, ended
        until(lambda: len(made()) >= len(RUNS) * len(STEPS), "every pod was seen", 10)
        seen = made()
    recorded = {steps_of(ended[run])[name]["podUID"] for run in RUNS for name in STEPS}
    assert set(seen) == recorded, seen
    logs = {name: kubectl("logs", "-n", space.name, name) for name in seen.values()}
    assert {name: log.count("the effect happens") for name, log in logs.items()} == dict.fromkeys(logs, 1)


def test_a_decision_while_the_operator_is_down_is_honoured(space: Space, operator: OperatorProcess) -> None:
    space.tool("echo", ECHO)
    for run in ("approved", "rejected"):
        space.start(run, step("first", "echo", approval="Always"))
    asked = {run: space.question(run) for run in ("approved", "rejected")}
    operator.kill()
    assert space.decide(asked["approved"], "Approve").status == 200
    assert space.decide(asked["rejected"], "Reject", reason="not today").status == 200
    assert space.pods("approved") == []
    operator.start()
    assert space.ended("approved")["phase"] == "Succeeded"
    status = space.ended("rejected")
    assert (status["reason"], "not today" in status["message"]) == ("Rejected", True)
    assert space.pods("rejected") == []


def test_an_approval_deleted_while_the_operator_is_down_is_asked_again(space: Space, operator: OperatorProcess) -> None:
    space.tool("echo", ECHO)
    space.start("asks", step("first", "echo", approval="Always"))
    asked = space.question("asks")
    operator.kill()
    space.delete("approvals", asked["metadata"]["name"])
    operator.start()
    again = space.question("asks")
    assert (again["metadata"]["uid"] != asked["metadata"]["uid"], again["spec"]) == (True, asked["spec"])
    assert space.pods("asks") == []


def test_a_waiting_run_costs_no_write_however_often_it_is_looked_at(space: Space, operator: OperatorProcess) -> None:
    """Each touch holds the version that the one before left: any write of the operator's would make it a conflict."""
    space.tool("make", says({"b": {"y": 1, "x": 2}, "a": [{"d": 3, "c": 4}]}))
    space.tool("echo", ECHO, approval="Unless", approvalUnless="args.text == 'never'")
    asking = step("asks", "echo", args={"text": "as ${steps.make.output} says", "whole": "${steps.make.output}"})
    space.start("waits", step("make", "make"), asking)
    asked = space.question("waits")
    run = space.get("agentruns", "waits")
    for touch in range(TOUCHES):
        passes = operator.metric("agentruns_reconcile_seconds_count")
        version = run["metadata"]["resourceVersion"]
        metadata = {"resourceVersion": version, "annotations": {"example.com/touched": str(touch)}}
        touched = space.admin.patch((space.name, "agentruns", "waits"), {"metadata": metadata}, store=True)
        assert touched.status == 200, touched.message
        run = touched.body
        until(lambda: operator.metric("agentruns_reconcile_seconds_count") > passes, "it is looked at", every=0.01)  # noqa: B023
    operator.kill()
    operator.start()
    until(lambda: operator.metric("agentruns_reconcile_seconds_count") > 0, "it is looked at after a restart")
    assert space.get("agentruns", "waits") == run
    assert space.all("approvals") == [asked]
    assert space.pods("waits", "asks") == []


def test_a_run_deleted_while_the_operator_is_down_is_stopped_at_once(space: Space, operator: OperatorProcess) -> None:
    space.tool("sleep", "import time; time.sleep(600)")
    space.start("sleeps", step("first", "sleep"))
    space.step_reached("sleeps", "first", "Running")
    [pod] = space.pods("sleeps")
    name = pod["metadata"]["name"]
    operator.kill()
    space.delete("agentruns", "sleeps")
    until(lambda: space.get("pods", name)["status"]["phase"] in ("Succeeded", "Failed"), "its pod is stopped")
    assert space.find("agentruns", "sleeps") is None
    operator.start()
    until(lambda: space.find("pods", name) is None, "its pod is gone")


def test_an_output_that_was_deleted_while_the_operator_was_down_is_said_to_be_lost(
    space: Space, operator: OperatorProcess
) -> None:
    space.tool("big", says("x" * 5000))
    space.tool("echo", ECHO)
    reads = step("reads", "echo", args={"text": "${steps.big.output}"}, approval="Always")
    space.start("loses", step("big", "big"), reads)
    space.question("loses")
    operator.kill()
    [stored] = [it["metadata"]["name"] for it in space.all("configmaps") if "output" in it["metadata"]["name"]]
    space.delete("configmaps", stored)
    operator.start()
    space.decided("loses", "Approve")
    status = space.ended("loses")
    assert (status["phase"], status["reason"]) == ("Failed", "StateLost")
    assert "the output of step big is lost" in status["message"]
