"""Every situation of a run times everything that can be seen: no exception, a rest, and what must never happen."""

import re
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from agentruns.core.lifecycle import decide
from agentruns.core.observed import NoResult, Refusal
from agentruns.core.questions import PodIsGone, PolicyEnforced, ResultOf
from agentruns.core.records import FINAL_PHASES, EffectState, Phase, RunStatus, StepState
from agentruns.core.resources import Effect, Settle

from tests.unit.builders import NAMESPACE, NOW, a_run, a_step, a_tool, an_end
from tests.unit.play import Play, play

PAYS = {"pay": a_tool(effect="NonIdempotent", approval="Never"), "ask": a_tool(effect="NonIdempotent")}
SETTLES = {"pay": PAYS["pay"].model_copy(update={"settle": Settle(tool="side", happened="result.n == 1")})}
STEPS = (a_step("pay"), a_step("ask", needs=["pay"]), a_step("side"))
Change = Callable[[Play], object]


def begun() -> Play:
    """A run with a payment and a side step prepared."""
    return play(*STEPS, tools=PAYS, order="Graph", deadline="1h", idempotencyKey="k", ttlAfterFinished="2h")


def doubted() -> Play:
    """The same run with a payment in doubt that a tool may settle."""
    run = play(*STEPS, tools=PAYS | SETTLES, order="Graph", deadline="1h", idempotencyKey="k", ttlAfterFinished="2h")
    return run.succeeds("side").fails("pay", 3)


def unseen_tool() -> Play:
    """A run whose tool is not there."""
    run = Play(a_run(*STEPS, order="Graph"))
    run.tools.clear()
    return run.go()


def succeeded() -> Play:
    """A run that has done all of it."""
    return begun().succeeds("pay").succeeds("side").decides("ask", "Approve").succeeds("ask")


def another(first: Play, *, gone: bool = False) -> Play:
    """A second run of the same task."""
    spec = first.run.model_copy(update={"status": RunStatus()})
    metadata = spec.metadata.model_copy(update={"name": "again", "uid": "again"})
    others = [] if gone else [first]
    run = spec.model_copy(update={"metadata": metadata})
    return Play(run, dict(PAYS), claims=dict(first.claims), others=others).go()


SITUATIONS: dict[str, Callable[[], Play]] = {
    "new": lambda: Play(a_run(*STEPS, order="Graph"), dict(PAYS)),
    "without its tool": unseen_tool,
    "prepared": begun,
    "running": lambda: begun().starts("pay").go(3),
    "closing": lambda: begun().starts("pay").says("pay", error_class="Transient").go(),
    "waiting": lambda: begun().fails("pay", 75),
    "asking": lambda: begun().succeeds("pay"),
    "approved": lambda: begun().succeeds("pay").decides("ask", "Approve"),
    "in doubt": lambda: begun().fails("pay", 3),
    "settling": doubted,
    "asking a tool": lambda: doubted().go(30),
    "told by a tool": lambda: doubted().go(30).starts("pay-settle").go(3),
    "told nothing": lambda: doubted().go(30).fails("pay-settle", 65),
    "told that nothing was done": lambda: doubted().go(30).succeeds("pay-settle", {"n": 2}),
    "lost": lambda: begun().starts("pay").go(400),
    "paused": lambda: begun().wants(desiredState="Paused"),
    "cancelling": lambda: begun().starts("pay").wants(desiredState="Cancelled"),
    "failing": lambda: begun().starts("side").fails("pay", 65),
    "succeeded": succeeded,
    "failed": lambda: begun().succeeds("side").fails("pay", 65),
    "held": lambda: another(begun()),
    "already done": lambda: another(succeeded()),
    "task in doubt": lambda: another(begun(), gone=True),
    "cancelled in doubt": lambda: begun().fails("pay", 3).succeeds("side").wants(desiredState="Cancelled"),
}


def pods(**fields: Any) -> Change:
    """Every pod that has not ended is seen like this."""

    def change(run: Play) -> None:
        run.pods = {uid: replace(pod, **fields) if pod.end is None else pod for uid, pod in run.pods.items()}

    return change


def results(**fields: Any) -> Change:
    """Every pod that is there has said this."""

    def change(run: Play) -> None:
        for record in run.status.steps:
            if record.pod_uid in run.pods:
                run.says(record.name, **fields)

    return change


def gone(answer: bool) -> Change:
    """No pod can be seen, and the API server says whether they are gone."""

    def change(run: Play) -> None:
        run.pods = {}
        run.answers |= {PodIsGone(record.pod, record.pod_uid): answer for record in run.status.steps}

    return change


def unread(run: Play) -> None:
    """Every pod has ended, and no log can be read any more."""
    pods(node="n", started_at=NOW, phase="Succeeded", end=an_end())(run)
    run.answers |= {ResultOf(pod.uid): NoResult(complete=False) for pod in run.pods.values()}


def decided(verdict: str) -> Change:
    """Every question is answered like this."""

    def change(run: Play) -> None:
        for record in run.status.steps:
            if record.approval in run.approvals:
                run.decides(record.name, verdict)
        if run.status.reason == "TaskInDoubt":
            run.decides("", verdict)

    return change


def deleted(run: Play) -> None:
    """Somebody deletes the run."""
    run.run = run.run.model_copy(update={"metadata": run.run.metadata.model_copy(update={"deletion_timestamp": NOW})})


def refused(for_now: bool) -> Change:
    """The API server creates nothing more."""
    kinds = ("Pod", "Approval", "NetworkPolicy", "ControllerRevision", "ConfigMap")
    return lambda run: run.refused.update({kind: Refusal("no", for_now) for kind in kinds})


CHANGES: dict[str, Change] = {
    "nothing": lambda _: None,
    "a minute": lambda run: run.go(60),
    "a month": lambda run: run.go(2_592_000),
    "pods unscheduled": pods(node="", gated=False, started_at=None, phase="Pending", end=None),
    "pods gated": pods(node="", gated=True, started_at=None, phase="Pending", end=None),
    "pods pulling": pods(node="n", started_at=None, phase="Pending", end=None, waiting_reason="ErrImagePull"),
    "pods running": pods(node="n", gated=False, started_at=NOW, phase="Running", end=None),
    "pods deleted unbound": pods(node="", deleting=True, started_at=None, phase="Pending", end=None),
    "pods deleted running": pods(node="n", deleting=True, started_at=NOW, phase="Running", end=None),
    "pods rejected": pods(node="n", started_at=None, phase="Failed", reason="OutOfcpu", end=None),
    "pods evicted": pods(node="n", started_at=NOW, phase="Failed", reason="Evicted", disrupted=True, end=an_end(137)),
    "pods collected": pods(node="n", started_at=None, phase="Failed", disrupted=True, deleting=True, end=None),
    "pods lost": pods(node="n", started_at=NOW, phase="Failed", end=an_end(137, known=False)),
    "pods restarted": pods(node="n", started_at=None, phase="Running", restarted=True, end=None),
    "pods ended well": pods(node="n", started_at=NOW, phase="Succeeded", end=an_end()),
    "pods ended badly": pods(node="n", started_at=NOW, phase="Failed", end=an_end(1)),
    "pods out of memory": pods(node="n", started_at=NOW, phase="Failed", end=an_end(137, reason="OOMKilled")),
    "pods of nobody": pods(finalizers=(), owner_uid="else"),
    "pods unread": unread,
    "pods gone": gone(True),
    "pods unseen": gone(False),
    "results": results(output={"n": 1}),
    "big results": results(output="x" * 5000),
    "errors": results(error_class="Unknown", message="m"),
    "invalid results": results(invalid="no JSON"),
    "approved": decided("Approve"),
    "rejected": decided("Reject"),
    "happened": decided("Happened"),
    "again": decided("RunAgain"),
    "let fail": decided("Fail"),
    "forgeable": lambda run: (run.answers.update({PolicyEnforced(NAMESPACE): False}), decided("Approve")(run)),
    "approvals gone": lambda run: setattr(run, "approvals", {}),
    "policies gone": lambda run: setattr(run, "policies", frozenset()),
    "tools gone": lambda run: run.tools.clear(),
    "paused": lambda run: run.wants(desiredState="Paused"),
    "cancelled": lambda run: run.wants(desiredState="Cancelled"),
    "deleted": deleted,
    "refused for now": refused(for_now=True),
    "refused": refused(for_now=False),
}


@cache
def published(*path: str) -> frozenset[str]:
    """The words in the description of a field of an AgentRun."""
    crd = yaml.safe_load((Path(__file__).parents[2] / "crds" / "agentruns.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path:
        schema = schema.get("items", schema)["properties"][name]
    return frozenset(re.findall(r"\w+", schema["description"]))


def check(run: Play, *, was_final: bool, before: Any) -> None:
    """What must hold of a run at rest, whatever happened to it."""
    if was_final:
        assert run.status == before, "final is final"
    if run.status.phase in FINAL_PHASES:
        in_flight = {StepState.PREPARED, StepState.RUNNING, StepState.WAITING, StepState.AWAITING_APPROVAL}
        assert not in_flight & {record.state for record in run.status.steps}, "nothing is begun and not closed"
        assert run.status.finished_at is not None
        if run.run.spec.idempotency_key and run.status.started_at:
            assert run.status.phase.value in {it["data"]["state"] for it in run.claims.values()}, "its claim says so"
    if run.status.phase is Phase.SUCCEEDED:
        wanted = [] if run.status.reason == "AlreadyDone" else [it.name for it in run.run.spec.steps]
        assert [it.name for it in run.status.steps if not it.is_settle_call] == wanted
    assert len(run.status.message) <= 2048
    assert run.status.reason in {"", *published("status", "reason")}
    assert {it.reason for it in run.status.steps} <= published("status", "steps", "reason")
    stands = {it.type: it.status for it in run.status.conditions}
    assert not stands or (stands["Reconciling"], stands["Stalled"]) != ("True", "True"), "it is one or the other"
    assert run.run.is_final or run.decision.wake_at is None or run.decision.wake_at > run.now, "it waits, or it acts"
    tools = {step.name: PAYS.get(step.tool, a_tool()) for step in run.run.spec.steps}
    for record in run.status.steps:
        if tools.get(record.name, a_tool()).effect is Effect.READ_ONLY:
            assert record.effect_state is EffectState.NONE
        elif record.state in (StepState.SUCCEEDED, StepState.IN_DOUBT):
            expected = EffectState.DONE if record.state is StepState.SUCCEEDED else EffectState.MAY_BE_DONE
            assert record.effect_state is expected
        if record.effect_state is EffectState.MAY_BE_DONE and run.status.phase in FINAL_PHASES:
            assert record.name in run.status.message
    assert run.refused or decide(run.run, run.look()).status == run.status, "looking again changes nothing"


@cache
def played(situation: str) -> Play:
    """A situation as it came about; what is done in it is done to a copy."""
    return SITUATIONS[situation]()


def fresh(situation: str) -> Play:
    """A copy of a situation. What is in it is frozen; only what holds it is not."""
    twin = copy(played(situation))
    vars(twin).update({name: it.copy() for name, it in vars(twin).items() if isinstance(it, dict | list)})
    return twin


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.parametrize("situation", SITUATIONS)
def test_whatever_is_seen_a_run_comes_to_rest(situation: str, change: Change) -> None:
    run = fresh(situation)
    was_final, before = run.run.is_final, run.status
    change(run)
    check(run.go(), was_final=was_final, before=before)
    check(run.go(30), was_final=was_final, before=before)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_run_that_is_left_alone_keeps_still(situation: str) -> None:
    run = fresh(situation).go()
    before = run.status
    assert run.go().status == before


def test_the_situations_are_what_they_are_called() -> None:
    phases = {name: played(name).status.phase for name in SITUATIONS}
    assert played("settling").step("pay").is_settling
    assert played("told nothing").step("pay").reason == "Unsettled"
    assert phases["asking"] is Phase.RUNNING
    assert {name for name, phase in phases.items() if phase in FINAL_PHASES} == {
        "succeeded", "failed", "already done", "cancelled in doubt",
    }  # fmt: skip
