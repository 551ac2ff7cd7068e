"""A Tool that is not there yet: waited for, but not for ever. The last module, since its run was begun first."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.space import ECHO, Space, step
from tests.waiting import until


def test_a_tool_may_come_after_its_run(space: Space) -> None:
    space.start("early", step("first", "late"))
    status = until(lambda: it if (it := space.status("early")).get("reason") else None, "the run was looked at")
    assert (status["reason"], "late" in status["message"]) == ("WaitingForTool", True)
    space.tool("late", ECHO)
    assert space.ended("early")["phase"] == "Succeeded"


def test_a_tool_that_never_comes_fails_the_run(toolless: Space) -> None:
    status = toolless.ended("toolless", seconds=180)
    run = toolless.get("agentruns", "toolless")
    waited = datetime.fromisoformat(status["finishedAt"]) - datetime.fromisoformat(run["metadata"]["creationTimestamp"])
    assert (status["phase"], status["reason"]) == ("Failed", "ToolNotFound")
    assert "never-there" in status["message"]
    assert waited >= timedelta(minutes=2)
    assert toolless.pods("toolless") == []
