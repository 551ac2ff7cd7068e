"""What a run waits for, as `kubectl get` says it: a person, a Tool, a pod that does not begin, a quota, a time."""

from agentruns.core.observed import POD_LIMIT_REACHED, Refusal
from agentruns.core.records import Phase

from tests.unit.builders import a_run, a_step, a_tool
from tests.unit.play import Play, play

FULL = Refusal('pods "a" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=9', True, "QuotaExceeded")


NO_ROOM = Refusal("limits.activePods of the installation, 1, is reached", True, POD_LIMIT_REACHED)


def waits_for(run: Play) -> list[tuple[str, str, str]]:
    """Kind, name and step of everything that is waited for."""
    return [(it.kind, it.name, it.step) for it in run.status.waiting_for]


def test_a_tool_that_is_not_there_yet() -> None:
    run = Play(a_run(a_step("lookup")))
    tool = run.tools.pop("lookup")
    assert run.go().status.waiting == "Tool/lookup"
    assert waits_for(run) == [("Tool", "lookup", "")]
    run.tools["lookup"] = tool
    assert (run.go().status.waiting, waits_for(run)) == ("", [])


def test_a_pod_that_does_not_begin() -> None:
    run = play(a_step("a"))
    run._sees("a", node="node-1", waiting_reason="ImagePullBackOff", waiting_message="no such image").go()
    assert run.status.waiting == f"Pod/{run.step('a').pod}"
    assert run.starts("a").go(3).status.waiting == ""


def test_a_time_to_come() -> None:
    run = play(a_step("a")).fails("a", exit_code=75)
    assert waits_for(run) == [("Time", "2026-01-02T12:00:00Z", "a")]
    assert run.go(1).status.waiting == ""


def test_a_quota_that_is_full() -> None:
    run = Play(a_run(a_step("a")), refused={"Pod": FULL}).go()
    assert run.status.waiting == "ResourceQuota/compute"
    run.refused.clear()
    assert run.go(10).status.waiting == ""


def test_the_installations_limit_on_pods() -> None:
    run = Play(a_run(a_step("a")), refused={"Pod": NO_ROOM}).go()
    assert run.status.waiting == "PodLimit/activePods"
    run.refused.clear()
    assert run.go().status.waiting == ""


def test_what_a_tool_says_of_a_quota_of_its_own_is_no_quota() -> None:
    run = play(a_step("a")).starts("a").says("a", error_class="Transient", message=FULL.message).ends("a", 75).go()
    assert run.status.waiting.startswith("Time/")


def test_a_run_that_is_paused_waits_to_be_told_to_go_on() -> None:
    run = play(a_step("a", approval="Always")).wants(desiredState="Paused")
    assert [kind for kind, _, _ in waits_for(run)] == ["DesiredState", "Approval"]
    assert run.status.waiting == "DesiredState/Running +1"
    assert run.wants(desiredState="Running").status.waiting.startswith("Approval/")


def test_people_come_first_and_only_they_are_awaited_as_approval() -> None:
    run = play(a_step("a"), a_step("b", approval="Always"), tools={"a": a_tool(approval="Never")}, order="Graph")
    run.fails("a", exit_code=75)
    assert [kind for kind, _, _ in waits_for(run)] == ["Approval", "Time"]
    assert run.condition("AwaitingApproval") == ("True", "StepAwaitsApproval")
    run.decides("b", "Approve")
    assert [kind for kind, _, _ in waits_for(run)] == ["Time"]
    assert (run.status.phase, run.condition("AwaitingApproval")) == (Phase.RUNNING, ("False", "NotWaiting"))
