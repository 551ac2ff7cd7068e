"""Whether a run may begin its task: by who holds it, and by what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from agentruns.core.actions import Preparation, WriteClaim
from agentruns.core.approvals import Demand, task_demand, task_request
from agentruns.core.asking import ASKED_ANEW, HINDRANCES, RETRY_POLICY, NoAnswer, answer_to, because_of, shown_by
from agentruns.core.attempts import may_run
from agentruns.core.digests import compact
from agentruns.core.naming import claim_name
from agentruns.core.observed import Observed
from agentruns.core.questions import ClaimOf, GivenOutput, Lost, PodsOf, RunNow
from agentruns.core.records import FORMAT_VERSION, Phase, RecordedDecision, WaitingFor
from agentruns.core.resources import AgentRun
from agentruns.core.sizes import OUTPUT_LIMIT
from agentruns.core.starting import RETRY_REFUSED
from agentruns.core.task_outcome import outcome
from agentruns.core.tasks import Claim, ClaimState, Effects, claim_manifest, task_digest

TASK_PATIENCE: Final = timedelta(minutes=5)
"""How long a run that waits for its task goes without looking, if it hears nothing of the run that holds it."""


@dataclass(frozen=True)
class Free:
    """Nobody holds the task, or not any more: a run may claim it, in the place of this version of the claim."""

    resource_version: str = ""
    effects_before: Effects = Effects.NONE
    decision: RecordedDecision | None = None


@dataclass(frozen=True)
class Turned:
    """The phase that a run is in instead of beginning its task, for now or for ever, and what goes with it."""

    phase: Phase
    reason: str
    message: str
    record: Mapping[str, Any] = field(default_factory=dict)
    preparations: tuple[Preparation, ...] = ()
    wake_at: datetime | None = None


def turn_of(run: AgentRun, seen: Observed) -> Claim | Free | Turned | None:
    """Whether a run that has not begun may: by the claim that it holds, or may take; None for a task of its own."""
    if not run.spec.idempotency_key:
        return None
    name = claim_name(run.metadata.namespace, run.spec.idempotency_key)
    claim = seen.answer(ClaimOf(name))
    if isinstance(claim, Lost):
        said = f"{claim.message}; delete it, or give this run another idempotencyKey"
        return Turned(Phase.PENDING, "CreationRefused", said, wake_at=seen.now + RETRY_REFUSED)
    if claim is None:
        return _held(run, seen.same_task[0], seen) if seen.same_task else Free()
    if claim.run_uid == run.metadata.uid:
        return claim if claim.state is ClaimState.IN_FLIGHT else _as_it_says(claim)
    differs = claim.digest != task_digest(run)
    holder = None if seen.same_task else seen.answer(RunNow(claim.run, claim.run_uid))
    if seen.same_task or (holder and not holder.is_final):
        if differs and (claim.state is ClaimState.IN_FLIGHT or not claim.is_undone):
            return _conflict(name, claim)
        return _held(run, seen.same_task[0] if seen.same_task else claim.run, seen)
    left = _left_by(holder, claim, ClaimOf(name, after=claim.run_uid), seen)
    if left is None:
        return _held(run, claim.run, seen, timedelta(seconds=1))
    return _conflict(name, left) if differs and not left.is_undone else _after(run, left, seen)


def _left_by(holder: AgentRun | None, claim: Claim, once_over: ClaimOf, seen: Observed) -> Claim | None:
    """What a run that is over, or gone, has left of its task; None if another has that by now.

    Its own record counts as long as it is there: an operator that slept through its end may have written the claim.
    """
    if holder and holder.status.format_version <= FORMAT_VERSION:
        return outcome(claim, holder, holder.status, seen)
    left = seen.answer(once_over)  # it was written before the run was over
    return left if isinstance(left, Claim) and left.run_uid == claim.run_uid else None


def _held(run: AgentRun, holder: str, seen: Observed, patience: timedelta = TASK_PATIENCE) -> Turned:
    said = f"run {holder} has the task {run.spec.idempotency_key} and is not over; this one goes on when it is"
    waiting = (WaitingFor(kind="AgentRun", name=holder),)
    return Turned(Phase.PENDING, "TaskHeld", said, {"waiting_for": waiting}, wake_at=seen.now + patience)


def _conflict(name: str, claim: Claim) -> Turned:
    said = (
        f"idempotencyKey: {claim.task} is the task of run {claim.run}, whose spec is another; make a new run, either "
        f"with a key of its own or with that very spec (the claim is ConfigMap {name})"
    )
    return Turned(Phase.FAILED, "IdempotencyConflict", said)


def _as_it_says(claim: Claim) -> Turned:
    """What a run had come to before it could be recorded."""
    record = {"output": claim.result, "decision": claim.decision}
    return Turned(Phase(claim.state.value), claim.reason, claim.message, record)


def _after(run: AgentRun, claim: Claim, seen: Observed) -> Free | Turned:
    """What follows from a claim whose run is over: its result counts, it may be taken, or it must be asked about."""
    if claim.state is ClaimState.SUCCEEDED:
        said = f"an earlier run, {claim.run}, has done this task; this one has run nothing, and has its output"
        return Turned(Phase.SUCCEEDED, "AlreadyDone", said, {"output": claim.result})
    if claim.is_undone:
        return Free(claim.resource_version)
    if claim.state is ClaimState.IN_FLIGHT:
        return _asked(run, claim, seen)
    said = (
        f"run {claim.run} has ended as {claim.state}, {claim.reason}, and may have had effects; to do the task all the "
        f"same, look at those first, then use another idempotencyKey, or have ConfigMap "
        f"{claim_name(run.metadata.namespace, claim.task)} deleted. It said: {claim.message}"
    )
    return Turned(Phase(claim.state.value), f"Already{claim.state}", said)


# -------------------------------------------------------------------------------------------- a run that is gone


def _asked(run: AgentRun, claim: Claim, seen: Observed) -> Free | Turned:
    """A person says what became of a task whose run is gone, and whose claim says that it was in flight."""
    cause = f"run {claim.run} had the task {claim.task}, and is gone without saying what it had done"
    anew = "".join(run.status.message.partition(ASKED_ANEW)[1:])
    question = task_demand(run, claim.digest, claim.run_uid, task_request(run, claim.run, cause + anew))
    if refusal := seen.refusals.get(question.name):
        return Turned(Phase.PENDING, refusal.reason, refusal.message, wake_at=seen.now + RETRY_REFUSED)
    shown = shown_by(question, run, seen, run.status)
    answer = answer_to(question, shown, seen)
    if isinstance(answer, NoAnswer):
        return _open(question, shown, answer, cause + anew)
    if answer.verdict == "RunAgain":
        return _again(claim, answer, seen)
    return _settled(run, claim, question, answer, seen)


def _open(question: Demand, shown: str, answer: NoAnswer, cause: str) -> Turned:
    hindrance = f": {HINDRANCES[answer.hindrance]}" if answer.hindrance else ""
    said = f"Approval {question.name} asks about the task{hindrance}; {cause}"
    waiting = (WaitingFor(kind="Approval", name=question.name),)
    record = {"waiting_for": waiting, "approval": question.name, "shown_digest": shown}
    reason = answer.hindrance or "TaskInDoubt"
    return Turned(Phase.AWAITING_APPROVAL, reason, said, record, answer.preparations, answer.wake_at)


def _again(claim: Claim, decision: RecordedDecision, seen: Observed) -> Free | Turned:
    """The task is begun anew, but not beside pods of the run that is gone."""
    running = [pod.name for pod in seen.answer(PodsOf(claim.run_uid)) if may_run(pod)]
    if not running:
        return Free(claim.resource_version, Effects.POSSIBLE, decision)
    said = f"pods of run {claim.run}, which is gone, have not ended; this run begins when they have"
    waiting = tuple(WaitingFor(kind="Pod", name=name) for name in running[:10])
    return Turned(Phase.PENDING, "TaskHeld", said, {"waiting_for": waiting}, wake_at=seen.now + RETRY_POLICY)


def _settled(run: AgentRun, claim: Claim, question: Demand, decision: RecordedDecision, seen: Observed) -> Turned:
    """What a person said of the task goes into its claim first; the run then ends as that says."""
    who, why = decision.by or "a person", because_of(decision)
    gone = f"run {claim.run} is gone"
    if decision.verdict == "Happened":
        given = _given(question, seen)
        if isinstance(given, Lost):
            said = f"{gone}{ASKED_ANEW}: {given.message}"
            return Turned(
                Phase.AWAITING_APPROVAL, "TaskInDoubt", said, {"asked_anew": run.status.asked_anew + 1}, (), seen.now
            )
        said = f"{gone}, and {who} says that it has done this task{why}; nothing was run"
        update: dict[str, Any] = {"state": ClaimState.SUCCEEDED, "reason": "AlreadyDone", "output": given}
    else:
        said = f"{gone} without saying what it had done; {who} let the task fail{why}"
        update = {"state": ClaimState.FAILED, "reason": "InDoubt"}
    ours = {"run": run.metadata.name, "run_uid": run.metadata.uid, "finished_at": seen.now, "decision": decision}
    sticky = {"effects": Effects.POSSIBLE, "effects_before": Effects.POSSIBLE}
    settled = claim.model_copy(update={**update, **ours, **sticky, "message": said})
    write = WriteClaim(claim_manifest(run.metadata.namespace, settled))
    if refusal := seen.refusals.get(write.name):
        refused = f"{said}; the API server refused to store that in the claim of the task: {refusal.message}"
        return Turned(Phase.PENDING, refusal.reason, refused, wake_at=seen.now + RETRY_REFUSED)
    return Turned(Phase.AWAITING_APPROVAL, "TaskInDoubt", said, preparations=(write,))


def _given(question: Demand, seen: Observed) -> str | Lost:
    """The output that a person gave for the whole run, as JSON; Lost where it cannot be a run's."""
    approval = seen.approvals[question.name]
    given = seen.answer(GivenOutput(approval.metadata.name, approval.metadata.uid))
    if isinstance(given, Lost):
        return given
    if not isinstance(given, dict | None):
        return Lost("decision.output must be an object, as the output of a run is")
    text = compact(given) if given else b""
    if len(text) > OUTPUT_LIMIT:
        return Lost(f"decision.output has {len(text)} bytes; at most {OUTPUT_LIMIT} are taken")
    return text.decode()
