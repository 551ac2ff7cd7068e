"""What nobody uses is collected, with the operator's own account; what is in use or needed again stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agentruns.core.naming import claim_name

from tests.accounts import Body
from tests.commands import kubectl
from tests.integration.operator_process import kubeconfig
from tests.space import ECHO, Space, says, step
from tests.waiting import until

LABEL = "agentrun.dev/unused-since"
SHARED = ("controllerrevisions", "networkpolicies")
OPENS = [{"to": [{"podSelector": {"matchLabels": {"app": "bank"}}}], "ports": [{"port": 443}]}]
Sweep = Callable[[int], None]


@pytest.fixture
def swept(space: Space, tmp_path: Path) -> Sweep:
    """Sweeps the test's namespace as if it were so many hours later."""
    config = tmp_path / "kubeconfig"
    config.write_text(kubeconfig())

    def sweep(hours: int) -> None:
        command = [sys.executable, "-m", "tests.integration.one_sweep", space.name, str(hours)]
        subprocess.run(command, env=os.environ | {"KUBECONFIG": str(config)}, check=True, timeout=120)

    return sweep


def shared(space: Space) -> dict[str, Body]:
    """The metadata of what runs share, by name."""
    found = [it["metadata"] for plural in SHARED for it in space.all(plural)]
    return {it["name"]: it for it in found if it["labels"].get("app.kubernetes.io/managed-by") == "agentruns"}


def marked(space: Space) -> set[str]:
    """The names of what is marked as unused."""
    return {name for name, it in shared(space).items() if LABEL in it["labels"]}


def noticed(space: Space, tool: str) -> None:
    """Returns once the operator has seen what came after all that was changed so far."""
    space.tool(tool, says(1))
    until(lambda: space.get("tools", tool).get("status"), "the operator has seen what came after", 30)


def test_what_no_run_uses_is_marked_and_later_deleted(space: Space, swept: Sweep) -> None:
    space.tool("echo", ECHO, egress=OPENS)
    space.start("ends", step("first", "echo"))
    assert space.ended("ends")["phase"] == "Succeeded"
    all_ = set(shared(space))
    assert len(all_) == 3, "a pinned tool, what it opens, and the rule that closes all"
    swept(23)
    assert marked(space) == set()
    swept(25)
    assert marked(space) == all_ - {"agentrun-sandboxes"}
    swept(25)
    assert set(shared(space)) == all_
    swept(27)
    assert set(shared(space)) == {"agentrun-sandboxes"}


def test_what_a_waiting_run_uses_is_kept_for_as_long_as_it_waits(space: Space, swept: Sweep) -> None:
    space.tool("echo", ECHO, egress=OPENS)
    space.start("waits", step("first", "echo", approval="Always"))
    space.question("waits")
    swept(1000)
    swept(2000)
    assert (marked(space), len(space.all("controllerrevisions"))) == (set(), 1)
    space.decided("waits", "Approve")
    assert space.ended("waits")["phase"] == "Succeeded"


def test_what_is_needed_again_loses_its_mark_and_is_not_deleted(space: Space, swept: Sweep) -> None:
    space.tool("echo", ECHO, egress=OPENS)
    space.start("before", step("first", "echo"))
    space.ended("before")
    swept(25)
    uids = {name: it["uid"] for name, it in shared(space).items()}
    noticed(space, "later")
    space.start("again", step("first", "echo"), step("second", "echo", approval="Always"))
    space.question("again")
    assert marked(space) == set()
    swept(27)
    assert {name: it["uid"] for name, it in shared(space).items()} == uids
    space.decided("again", "Approve")
    assert space.ended("again")["phase"] == "Succeeded"


def test_what_was_collected_is_made_again_on_demand(space: Space, swept: Sweep) -> None:
    space.tool("echo", ECHO, egress=OPENS)
    for name in ("before", "after"):
        space.start(name, step("first", "echo"))
        assert space.ended(name)["phase"] == "Succeeded"
        assert len(shared(space)) == 3
        swept(25)
        swept(27)
        until(lambda: set(shared(space)) == {"agentrun-sandboxes"}, "all is collected", 10)
        noticed(space, f"after-{name}")


def gone(space: Space, run: str) -> None:
    """Returns once a person has deleted a run."""
    space.delete("agentruns", run)
    until(lambda: space.find("agentruns", run) is None, f"run {run} is gone")


def remembered(space: Space) -> set[str]:
    """The tasks whose claims are there."""
    labelled = [it for it in space.all("configmaps") if "agentrun.dev/task" in it["metadata"].get("labels", {})]
    return {it["data"]["task"] for it in labelled}


def test_a_task_is_forgotten_when_its_retention_is_over_and_one_in_flight_never(space: Space, swept: Sweep) -> None:
    space.tool("echo", ECHO)
    for name, more in {"done": {}, "lost": {"approval": "Always"}}.items():
        space.start(name, step("first", "echo", **more), idempotencyKey=name)
    assert space.ended("done")["phase"] == "Succeeded"
    space.question("lost")
    gone(space, "done")
    gone(space, "lost")
    swept(719)
    assert remembered(space) == {"done", "lost"}
    swept(721)
    assert remembered(space) == {"lost"}


def test_a_task_is_remembered_while_a_run_has_its_key_and_for_its_retention_after(space: Space, swept: Sweep) -> None:
    space.tool("echo", ECHO)
    space.start("done", step("first", "echo"), idempotencyKey="done")
    assert space.ended("done")["phase"] == "Succeeded"
    swept(359)
    assert "lastUsedAt" not in space.get("configmaps", claim_name(space.name, "done"))["data"]
    swept(721)
    kept = space.get("configmaps", claim_name(space.name, "done"))
    assert (kept["data"]["state"], "lastUsedAt" in kept["data"]) == ("Succeeded", True)
    swept(722)
    assert space.get("configmaps", claim_name(space.name, "done")) == kept, "it was noted as used an hour ago"
    gone(space, "done")
    swept(721 + 719)
    assert remembered(space) == {"done"}
    space.start("again", step("first", "echo"), idempotencyKey="done")
    assert space.ended("again")["reason"] == "AlreadyDone"
    gone(space, "again")
    swept(721 + 721)
    assert remembered(space) == set()


def test_a_sandbox_whose_run_was_deleted_without_it_is_stopped_and_goes(space: Space) -> None:
    space.tool("sleep", "import time; time.sleep(600)")
    space.start("orphans", step("first", "sleep"), step("second", "sleep"), order="Graph")
    for name in ("first", "second"):
        space.step_reached("orphans", name, "Running")
    assert len(space.pods("orphans")) == 2
    kubectl("delete", "agentrun", "orphans", "-n", space.name, "--cascade=orphan")
    until(lambda: not space.all("pods"), "its sandboxes are gone", 60)
