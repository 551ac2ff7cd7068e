"""How a run begins: its tools are found and pinned, and what is refused or missing is waited for or said."""

from typing import Any

import pytest
from agentruns.core.actions import SetConditions, Ungate
from agentruns.core.lifecycle import decide
from agentruns.core.observed import Refusal
from agentruns.core.records import FORMAT_VERSION, Phase, RunStatus
from agentruns.core.resources import AgentRun

from tests.unit.builders import NOW, a_run, a_step, a_tool, later, seen
from tests.unit.play import Play, play

QUOTA = Refusal("pods is forbidden: exceeded quota", for_now=True)
FORBIDDEN = Refusal("violates PodSecurity", for_now=False)


def test_a_tool_that_is_not_there_yet_is_waited_for_two_minutes() -> None:
    run = Play(a_run(a_step("lookup")))
    tool = run.tools.pop("lookup")
    run.go(100)
    assert (run.status.phase, run.status.reason) == (Phase.PENDING, "WaitingForTool")
    assert run.status.message == "there is no Tool 'lookup' in namespace shop; apply it"
    assert (run.condition("Stalled")[0], run.condition("Reconciling")[0]) == ("False", "True")
    assert run.decision.wake_at == later(220)
    run.tools["lookup"] = tool
    assert run.go(119).states() == {"lookup": "Prepared"}


def test_a_tool_that_does_not_come_ends_the_run() -> None:
    run = Play(a_run(a_step("lookup")))
    run.tools.clear()
    assert run.go().go(119.9).status.phase is Phase.PENDING
    run.go(0.1)
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "ToolNotFound")
    assert run.status.message.endswith("it was waited for 120s. Apply it, and make a new run")


def test_all_tools_that_are_missing_are_named() -> None:
    run = Play(a_run(a_step("a"), a_step("b"), a_step("c")))
    tools = {name: run.tools.pop(name) for name in ("a", "c")}
    assert run.go().status.message == "there is no Tool 'a', 'c' in namespace shop; apply it"
    assert run.status.waiting == "Tool/a +1"
    run.tools["a"] = tools["a"]
    assert run.go(119).status.waiting == "Tool/c"
    assert run.go(1).status.reason == "ToolNotFound"


def test_a_refusal_before_is_no_time_of_waiting_for_a_tool() -> None:
    run = Play(a_run(a_step("a")))
    run.refused["ControllerRevision"] = Refusal("exceeded quota", for_now=True)
    assert run.go().go(600).status.reason == "CreationRefused"
    run.tools.clear()
    assert run.go().go(119).status.reason == "WaitingForTool"


def test_a_quota_that_has_no_room_for_a_pin_is_waited_for_and_named() -> None:
    run = Play(a_run(a_step("a")))
    run.refused["ControllerRevision"] = Refusal("exceeded quota: tight", for_now=True, reason="QuotaExceeded")
    assert (run.go().status.phase, run.status.reason) == (Phase.PENDING, "QuotaExceeded")
    assert run.condition("Stalled") == ("False", "NotStalled")
    assert "exceeded quota: tight" in run.status.message
    run.refused.clear()
    assert run.go(10).states() == {"a": "Prepared"}


def test_the_time_a_run_was_paused_is_no_time_of_waiting_for_a_tool() -> None:
    run = Play(a_run(a_step("lookup"), desiredState="Paused"))
    run.tools.clear()
    run.go().go(100_000).wants(desiredState="Running")
    assert run.status.reason == "WaitingForTool"


def test_what_a_tool_says_later_changes_nothing_about_a_run() -> None:
    run = play(a_step("a"), a_step("b", tool="a"))
    run.tools["a"] = a_tool(image="registry.example/other@sha256:" + "f" * 64)
    run.succeeds("a")
    assert run.pod_manifest("b")["spec"]["containers"][0]["image"] == a_tool().image


@pytest.mark.parametrize("kind", ["ControllerRevision", "NetworkPolicy", "Pod", "Approval"])
def test_what_a_quota_refuses_is_waited_for_and_said(kind: str) -> None:
    run = Play(a_run(a_step("a", approval="Always" if kind == "Approval" else "Inherit")), refused={kind: QUOTA}).go()
    assert run.status.phase in (Phase.PENDING, Phase.RUNNING, Phase.AWAITING_APPROVAL)
    assert QUOTA.message in run.status.message
    assert run.decision.wake_at == later(10)
    assert not run.actions(Ungate)
    run.refused.clear()
    run.go(10)
    assert run.states()["a"] in ("Prepared", "AwaitingApproval")
    assert QUOTA.message not in run.status.message


@pytest.mark.parametrize("kind", ["ControllerRevision", "Pod"])
def test_what_will_never_be_accepted_ends_the_run_with_the_reason(kind: str) -> None:
    run = Play(a_run(a_step("a")), refused={kind: FORBIDDEN}).go()
    assert (run.status.phase, run.status.reason) == (Phase.FAILED, "InvalidSpec")
    assert FORBIDDEN.message in run.status.message


def of_a_later_release(**status: Any) -> AgentRun:
    """A run whose status this release cannot read."""
    plain = a_run()
    return plain.model_copy(update={"status": RunStatus.model_validate({"formatVersion": 99, **status})})


def test_a_status_of_a_later_release_is_left_alone_and_says_so_once() -> None:
    run = of_a_later_release(conditions=[condition("Finished", "False"), condition("Stalled", "False")])
    decision = decide(run, seen())
    assert (decision.status, decision.preparations, decision.wake_at) == (run.status, (), None)
    [action] = decision.actions
    assert isinstance(action, SetConditions)
    assert {(it.type, it.status, it.reason) for it in action.conditions} == {
        ("Reconciling", "False", "NewerFormat"),
        ("Stalled", "True", "NewerFormat"),
    }
    assert f"has format 99, and this operator reads {FORMAT_VERSION}; upgrade it" in action.conditions[0].message
    status = run.status.model_copy(update={"conditions": (run.status.conditions[0], *action.conditions)})
    told = run.model_copy(update={"status": status})
    assert decide(told, seen(now=later(60))).actions == ()


def test_one_that_is_over_has_nothing_to_say() -> None:
    assert decide(of_a_later_release(phase="Succeeded"), seen()).actions == ()


def condition(kind: str, status: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "A", "lastTransitionTime": NOW.isoformat()}
