"""What people see with kubectl, and what Prometheus reads."""

from __future__ import annotations

import json
import re

import pytest

from tests import installed
from tests.commands import kubectl
from tests.space import ECHO, Space, step
from tests.waiting import until

METRICS = {
    "agentruns_runs",
    "agentruns_approvals_pending",
    "agentruns_oldest_approval_seconds",
    "agentruns_steps_in_doubt",
    "agentruns_step_seconds",
    "agentruns_reconcile_errors_total",
    "agentruns_queue_depth",
    "agentruns_policy_enforced",
}
SECRET = "hunter2"


@pytest.fixture(scope="module")
def done(shared_space: Space) -> Space:
    """A space whose run `greets` was applied and has succeeded."""
    shared_space.tool("echo", ECHO)
    apply(shared_space)
    assert shared_space.ended("greets")["phase"] == "Succeeded"
    return shared_space


def apply(space: Space) -> None:
    run = space.run_manifest("greets", step("first", "echo", args={"password": SECRET}), goal="Say hello.")
    kubectl("apply", "-f", "-", stdin=json.dumps(run))


def test_applying_again_changes_nothing(done: Space) -> None:
    before, pods = done.get("agentruns", "greets"), done.pods("greets")
    for _ in range(3):
        apply(done)
    assert done.get("agentruns", "greets") == before
    assert [it["metadata"]["uid"] for it in done.pods("greets")] == [it["metadata"]["uid"] for it in pods]


def test_describe_tells_where_it_is_and_what_happened(done: Space) -> None:
    until(lambda: "RunSucceeded" in kubectl("describe", "arun", "greets", "-n", done.name), "its Events are told", 30)
    said = kubectl("describe", "arun", "greets", "-n", done.name)
    for words in ("Say hello.", "all steps have ended", "StepSucceeded"):
        assert words in said


def test_arguments_and_outputs_are_in_no_event(done: Space) -> None:
    until(lambda: "RunSucceeded" in kubectl("events", "-n", done.name), "its Events are written", 30)
    assert SECRET not in kubectl("get", "events", "-n", done.name, "-o", "json")


def test_the_wide_columns_tell_more(done: Space) -> None:
    header, row = kubectl("get", "agentruns", "-n", done.name, "-o", "wide").splitlines()
    assert header.split() == ["NAME", "PHASE", "REASON", "PROGRESS", "WAITING", "AGE", "GOAL", "STARTED", "FINISHED"]
    assert "Say hello." in row


def test_whether_a_tool_is_ready_is_said(done: Space) -> None:
    done.tool("broken", ECHO, inputSchema={"type": "objekt"})
    kubectl("wait", "-n", done.name, "--for=condition=Ready", "tool/echo", "--timeout=60s")
    kubectl("wait", "-n", done.name, "--for=condition=Ready=false", "tool/broken", "--timeout=60s")
    conditions = {it["type"]: it for it in done.get("tools", "broken")["status"]["conditions"]}
    assert conditions["Stalled"]["status"] == "True"
    assert "inputSchema" in conditions["Ready"]["message"] == conditions["Stalled"]["message"]


@pytest.mark.usefixtures("done")
def test_the_promised_metrics_are_served() -> None:
    metrics = installed.metrics()
    assert set(re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE)) >= METRICS
    assert re.search(r'^agentruns_runs\{phase="Succeeded"\} [1-9]', metrics, re.MULTILINE)
    assert "agentruns_policy_enforced 1.0" in metrics
    assert "greets" not in metrics
