"""Bugs that are put in, one at a time: the simulation finds every one. What finds none would prove nothing."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import pytest
from agentruns import answers, collecting, performing
from agentruns.clock import utc_now
from agentruns.cluster import APPROVALS, Body, Cluster, Resource
from agentruns.core import (
    aftermath,
    asking,
    attempts,
    claim_writes,
    lifecycle,
    look,
    patches,
    settling,
    starting,
    steps,
    underway,
)
from agentruns.core.actions import Action, CollectPods, ReleasePod, SettleApproval, Ungate, WriteClaim
from agentruns.core.attempts import Ended, Next, Outcome, Underway, examined, follows
from agentruns.core.claims import turn_of
from agentruns.core.inputs import Attempt
from agentruns.core.look import Look, Moved
from agentruns.core.model import Metadata, Status, rfc3339
from agentruns.core.naming import claim_name, revision_label, settle_call
from agentruns.core.observed import NoResult, Observed, PodSeen
from agentruns.core.questions import ClaimOf, PodIsGone, ResultOf
from agentruns.core.records import RecordedDecision, RunStatus, StepState, StepStatus
from agentruns.core.resources import AgentRun, Effect
from agentruns.core.task_outcome import outcome
from agentruns.core.tasks import Claim, claim_manifest
from agentruns.performing import Performer
from agentruns.reconciler import Pass
from agentruns.room import Room
from agentruns.store import Store

from tests.cluster.places import CHECKOUT
from tests.simulation.courses import courses
from tests.simulation.simulation import simulated
from tests.simulation.world import habits, kubelet, people, pod_life
from tests.simulation.world.programs import second

SEEDS = range(5000, 6000)

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Planted:
    """A bug, the habits of the world in which it shows, and what is then said of it."""

    plant: Plant
    broken: str
    habits: frozenset[str] = frozenset()


def _performing_first(kinds: tuple[type[Action], ...]) -> Plant:
    """Actions of these kinds are performed before what led to them is recorded."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        decided = Pass._decided
        performed = Pass._record

        async def remembered(self: Pass) -> Any:
            self.decision = decision = await decided(self)  # type: ignore[attr-defined]
            return decision

        async def recorded(self: Pass, status: RunStatus) -> bool:
            for action in getattr(self, "decision").actions:  # noqa: B009
                if isinstance(action, kinds):
                    await self._perform(action)
            return await performed(self, status)

        monkeypatch.setattr(Pass, "_decided", remembered)
        monkeypatch.setattr(Pass, "_record", recorded)

    return plant


def _ungating_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performing, "gate_off", lambda uid: patches.gate_off(uid)[1:])


def _recording_whatever_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Cluster.put_status

    async def unguarded(self: Cluster, resource: Resource, metadata: Metadata, status: Status) -> Body:
        return await put(self, resource, metadata.model_copy(update={"resource_version": ""}), status)

    monkeypatch.setattr(Cluster, "put_status", unguarded)


def _a_key_for_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = Look.attempt

    def other(self: Look) -> Attempt:
        made = attempt(self)
        return replace(made, idempotency_key=f"{made.idempotency_key}-{made.number}")

    monkeypatch.setattr(look.Look, "attempt", other)


def _trying_again_whatever_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(effect: Effect, outcome: Outcome) -> Next:
        return Next.RETRY if outcome is Outcome.UNKNOWN else follows(effect, outcome)

    monkeypatch.setattr(underway, "follows", always)


def _going_on_before_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(it: Look, _: PodSeen) -> Moved:
        found = examined(it.record, it.seen)
        assert isinstance(found, Ended)
        return underway._after(it, found, follows(it.tool.effect, found.outcome))

    monkeypatch.setattr(underway, "_closing", at_once)


def _believing_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    async def known(_: Cluster, store: Store, *about: Any) -> bool:
        return any(about[-1] in pods for pods in store._pods.values())

    monkeypatch.setattr(answers, "is_there", known)


def _waiting_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    again = underway.again

    def unrecorded(it: Look, ended: Ended) -> Moved:
        moved = again(it, ended)
        return replace(moved, record=moved.record.model_copy(update={"next_attempt_at": None}))

    monkeypatch.setattr(underway, "again", unrecorded)


def _ending_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "stopped", lambda it: Moved(it.ended(StepState.CANCELLED, "RunEnded")))


def _settling_what_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unguarded(self: Performer, action: SettleApproval) -> None:
        status = {"state": action.state.value, "decidedAt": rfc3339(utc_now())}
        operations = [{"op": "add", "path": "/status", "value": status}]
        await self._cluster.patch(APPROVALS, self._namespace, action.name, operations, "status")

    monkeypatch.setattr(Performer, "_settle", unguarded)


def _taking_lost_for_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    def never_began(pod: PodSeen) -> bool:
        return pod.end is not None and not pod.end.known

    monkeypatch.setattr(attempts, "_never_began", never_began)


def _taking_refused_for_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    known = attempts._never_began

    def never_began(pod: PodSeen) -> bool:
        return known(pod) or (pod.end is None and pod.phase == "Failed" and not pod.disrupted)

    monkeypatch.setattr(attempts, "_never_began", never_began)


def _releasing_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = aftermath._may_be_wanted

    def gated(pod: PodSeen, record: StepStatus | None) -> bool:
        return pod.gated and wanted(pod, record)

    monkeypatch.setattr(aftermath, "_may_be_wanted", gated)


def _releasing_what_never_began(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = aftermath._may_be_wanted

    def whole(pod: PodSeen, record: StepStatus | None) -> bool:
        return wanted(pod, record) and not (pod.gated and pod.deleting)

    monkeypatch.setattr(aftermath, "_may_be_wanted", whole)
    monkeypatch.setattr(people, "HASTE", 0.1)  # as long as a gate: else it shows once in 1,000 seeds


def _keeping_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = aftermath._may_be_wanted
    monkeypatch.setattr(aftermath, "_may_be_wanted", lambda pod, record: pod.gated or wanted(pod, record))


def _giving_up_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = underway._given_up

    def unasked(it: Look, pod: PodSeen) -> Ended | None:
        seen = replace(
            it.seen, answers={PodIsGone(pod.name, pod.uid): False, ResultOf(pod.uid): NoResult(complete=False)}
        )
        return given_up(replace(it, reader=replace(it.reader, seen=seen)), pod)

    monkeypatch.setattr(underway, "_given_up", unasked)


def _claiming_after_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(run: AgentRun, seen: Observed) -> Any:
        return turn_of(run, seen) if run.status.started_at is not None else None

    monkeypatch.setattr(lifecycle, "turn_of", late)


def _forgetting_whatever_runs_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "claim_name", lambda *_: "")


def _mending_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    async def whatever_has_become_of_the_run(_: Pass) -> None: ...

    monkeypatch.setattr(Pass, "_expect_latest", whatever_has_become_of_the_run)
    for user in (claim_writes, aftermath):
        monkeypatch.setattr(user, "mended", lambda *_: None)


def _claiming_early_that_nothing_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(run: AgentRun, status: RunStatus, seen: Observed) -> WriteClaim | str:
        claim = seen.answer(ClaimOf(claim_name(run.metadata.namespace, run.spec.idempotency_key or "")))
        if not isinstance(claim, Claim) or claim.run_uid != run.metadata.uid:
            return claim_writes.kept(run, status, seen)
        new = outcome(claim, run, status, seen)
        return "" if new.says_the_same(claim) else WriteClaim(claim_manifest(run.metadata.namespace, new))

    monkeypatch.setattr(lifecycle, "kept", at_once)


def _forgetting_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "take_list", lambda *_: None)


def _believing_an_early_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_is_closed", lambda _: True)
    monkeypatch.setattr(
        pod_life, "program", lambda *_: replace(second(), hangs=True)
    )  # else it shows once in 1,000 seeds


def _settling_before_the_hard_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look.Look, "over_at", None)


def _taking_what_is_lost_for_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Look.over_at.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(look.Look, "over_at", property(lambda it: known(it) and it.hard_end(it.seen.now)))


def _running_again_beside_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    again = asking._again

    def at_once(it: Look, answer: RecordedDecision) -> Moved:
        return again(it.recording(next_attempt_at=None), answer)

    monkeypatch.setattr(asking, "_again", at_once)
    monkeypatch.setitem(habits.ALL, "slow image pull", 1.0)  # else it shows once in 400 seeds


def _waiting_for_a_silent_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(underway, "_is_past_its_end", lambda *_: False)


def _adopting_another_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = starting._fits

    def whatever_it_runs(pod: PodSeen, it: Look, attempt: Attempt) -> bool:
        return fits(replace(pod, revision=revision_label(attempt.revision)), it, attempt)

    monkeypatch.setattr(starting, "_fits", whatever_it_runs)


def _settling_by_an_earlier_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    called = settling._called

    def once(it: Look, found: Ended | Underway) -> Moved:
        before = it.reader.records.get(settle_call(it.step.name))
        told = before is not None and before.state is StepState.SUCCEEDED
        return replace(called(it, found), call=None) if told else called(it, found)

    monkeypatch.setattr(settling, "_called", once)


def _settling_without_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "StepStatus", lambda **fields: StepStatus(**{**fields, "epoch": 0}))


def _counting_no_creations_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Room._full

    def seen_only(self: Room, namespace: str) -> str:
        with patch.object(self, "_held", Counter[str]()):
            return full(self, namespace)

    monkeypatch.setattr(Room, "_full", seen_only)


def _waking_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Room, "share", lambda _: None)


def _running_a_program_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubelet.Kubelet, "marker", False)


BUGS = {
    "start before record": Planted(_performing_first((Ungate,)), "was never recorded"),
    "adopt without a look at the UID": Planted(
        _ungating_by_name, "was never recorded", frozenset({"two operators", "pod torn out", "slow requests"})
    ),
    "no version on the write of the status": Planted(
        _recording_whatever_stands_there, "changes after its end", frozenset({"two operators", "slow watch", "freeze"})
    ),
    "delete before record": Planted(_performing_first((ReleasePod, CollectPods)), "released before"),
    "the attempt in the key": Planted(_a_key_for_each_attempt, "two idempotency keys"),
    "retry of what is unknown": Planted(_trying_again_whatever_it_was, "acts twice"),
    "next attempt before the last is closed": Planted(_going_on_before_it_is_closed, "run at once"),
    "absence believed from the store": Planted(
        _believing_the_store, "taken for gone", frozenset({"two operators", "slow watch"})
    ),
    "a wait in memory": Planted(_waiting_in_memory, "before its time"),
    "final while an effect is in flight": Planted(_ending_at_once, "still runs", frozenset({"run cancelled"})),
    "an answer settled from a stale look": Planted(
        _settling_what_stands_there,
        "is settled anew",
        frozenset({"two operators", "slow watch", "run cancelled", "freeze"}),
    ),
    "lost sight of taken for never begun": Planted(
        _taking_lost_for_never_begun, "acts twice", frozenset({"node lost"})
    ),
    "refused taken for never begun": Planted(
        _taking_refused_for_never_begun, "acts twice", frozenset({"refused by a new kubelet"})
    ),
    "a pod released by an old record": Planted(
        _releasing_what_is_not_known, "released before", frozenset({"two operators", "slow watch"})
    ),
    "a pod that never began released unrecorded": Planted(
        _releasing_what_never_began,
        "released before",
        frozenset({"two operators", "pod deleted", "slow watch", "run paused"}),
    ),
    "a pod of an attempt that is over keeps its place": Planted(
        _keeping_what_is_over, "not settled", frozenset({"two operators", "slow watch", "pod torn out", "pod deleted"})
    ),
    "given up without a look": Planted(
        _giving_up_without_a_look, "can be read", frozenset({"kubelet cut off", "log stream broken"})
    ),
    "a claim after the first step": Planted(
        _claiming_after_the_first_step, "another run has acted for", frozenset({"two operators"})
    ),
    "a claim forgotten while a run has its key": Planted(
        _forgetting_whatever_runs_there_are,
        "another run has acted for",
        frozenset({"run made again", "run deleted"}),
    ),
    "a claim that says before the end that nothing was done": Planted(
        _claiming_early_that_nothing_was_done, "its run may go on", frozenset({"run made again", "run cancelled"})
    ),
    "a claim left as an operator that slept has written it": Planted(
        _mending_no_claim,
        "of a run that was",
        frozenset({"two operators", "freeze", "run cancelled", "run made again"}),
    ),
    "what vanished in a gap stays known": Planted(
        _forgetting_nothing, "not settled", frozenset({"watch gap", "pod torn out"})
    ),
    "an early no of a settle tool believed": Planted(
        _believing_an_early_no, "believed while the attempt", frozenset({"kubelet cut off"})
    ),
    "settled before the hard end": Planted(
        _settling_before_the_hard_end,
        "acts after a no",
        frozenset({"kubelet cut off", "slow program", "pod torn out"}),
    ),
    "what is lost taken for begun": Planted(
        _taking_what_is_lost_for_begun,
        "acts",
        frozenset({"kubelet cut off", "slow image pull", "pod torn out"}),
    ),
    "run again beside what is lost": Planted(
        _running_again_beside_what_is_lost,
        "next attempt is prepared",
        frozenset({"kubelet cut off", "slow image pull", "pod torn out"}),
    ),
    "a node that is silent for good waited for": Planted(
        _waiting_for_a_silent_node, "never heard of again", frozenset({"node never heard of again"})
    ),
    "a pod of another revision adopted": Planted(
        _adopting_another_revision, "was not pinned", frozenset({"tool edited", "crash"})
    ),
    "settled by an earlier answer": Planted(_settling_by_an_earlier_answer, "which has acted"),
    "settle calls without an epoch": Planted(_settling_without_an_epoch, "in the way of another"),
    "creations under way not counted": Planted(_counting_no_creations_under_way, "than the limits allow"),
    "nobody woken for room": Planted(_waking_nobody, "not settled"),
    "a program that runs twice": Planted(
        _running_a_program_twice, "acts twice", frozenset({"container started twice"})
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without the bug nothing is said of the same course."""
    bug = BUGS[name]
    with monkeypatch.context() as planted:
        bug.plant(planted)
        with courses(SEEDS, bug.habits) as them:
            found = next((it for it in them if any(bug.broken in said for said in it.violations)), None)
    assert found is not None, f"{len(SEEDS)} seeds say nothing of it"
    assert simulated(found.seed, habits=bug.habits).violations == ()


def test_the_page_about_it_names_every_bug() -> None:
    page = " ".join((CHECKOUT / "docs" / "durability.md").read_text().split())
    assert [name for name in BUGS if f"*{name}*" not in page] == []
