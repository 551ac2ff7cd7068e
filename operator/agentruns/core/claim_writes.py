"""What a run leaves in the claim of its task: that it has it, what came of it, and that somebody still needs it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from agentruns.core.actions import WriteClaim
from agentruns.core.claims import Free
from agentruns.core.digests import compact
from agentruns.core.journal import Journal
from agentruns.core.naming import claim_name
from agentruns.core.observed import Observed
from agentruns.core.questions import ClaimOf, Lost
from agentruns.core.records import HOLDING_STATES, EffectState, Phase, RunStatus, StepStatus
from agentruns.core.resources import AgentRun, Effect, ToolSpec
from agentruns.core.tasks import Claim, ClaimState, Effects, claim_manifest, task_digest

JUST_NOW: Final = timedelta(minutes=1)
"""How long a use of a claim need not be noted again: many runs of a task may come to their end at once."""
_BY_ANOTHER: Final = frozenset({"AlreadyDone", "AlreadyFailed", "AlreadyCancelled"})
"""Reasons of runs that have ended as an earlier one of their task did."""


def claimed(run: AgentRun, turn: Free | Claim, tools: Iterable[ToolSpec]) -> WriteClaim | None:
    """The claim that a run must have before it begins with these tools; None if the one that it has says so.

    Until the run ends, all that its tools can do is possible: what a Tool says may have changed since it was claimed.
    """
    acts = any(tool.effect is not Effect.READ_ONLY for tool in tools)
    if isinstance(turn, Claim):
        if not acts or turn.effects is Effects.POSSIBLE:
            return None
        wider = turn.model_copy(update={"effects": Effects.POSSIBLE})
        return _written(run, wider)
    taken = _own(run, ClaimState.IN_FLIGHT, Effects.POSSIBLE if acts else turn.effects_before)
    update = {
        "effects_before": turn.effects_before,
        "decision": turn.decision,
        "resource_version": turn.resource_version,
    }
    return _written(run, taken.model_copy(update=update))


def kept(run: AgentRun, status: RunStatus, seen: Observed) -> WriteClaim | str:
    """What must be written before a run can be recorded as ended; else why its outcome is not kept, empty if it is."""
    name = _name(run)
    claim, refusal = seen.answer(ClaimOf(name)), seen.refusals.get(name)
    own = isinstance(claim, Claim) and claim.run_uid == run.metadata.uid
    if not own and status.started_at is None:
        return _used(run, status, seen)  # it has never held the task
    if isinstance(claim, Claim) and not own:
        return _lost(run, status, f"ConfigMap {name} names run {claim.run} by now")
    if isinstance(claim, Lost):
        return _lost(run, status, claim.message)
    new = _outcome(claim or _own(run, ClaimState.IN_FLIGHT, Effects.NONE), run, status, seen)
    if claim and new.says_the_same(claim):
        return ""
    return _lost(run, status, refusal.message) if refusal else _written(run, new)


def _lost(run: AgentRun, status: RunStatus, why: str) -> str:
    stays = run.spec.ttl_after_finished is not None and _has_done_something(status)
    so = ", so ttlAfterFinished does not delete it" if stays else ""
    return f"; later runs of its task will not find its outcome{so}: {why}"


def _used(run: AgentRun, status: RunStatus, seen: Observed) -> WriteClaim | str:
    """The claim by which a run ends, with the note that it has: so it is not forgotten soon after."""
    claim = seen.answer(ClaimOf(_name(run)))
    if status.reason not in _BY_ANOTHER or not isinstance(claim, Claim) or claim.unused_for(seen.now) < JUST_NOW:
        return ""
    if refusal := seen.refusals.get(_name(run)):
        return f"; it may be forgotten early, since its claim cannot be written: {refusal.message}"
    return _written(run, claim.used(seen.now))


def outlived(run: AgentRun, seen: Observed) -> WriteClaim | bool:
    """Whether a claim stands for a run that is over, once it is deleted; or what is to be written first.

    If one does, a run made again from the same manifest ends as this one did. What has done nothing needs none.
    """
    if not run.spec.idempotency_key or not _has_done_something(run.status):
        return True
    name = _name(run)
    claim = seen.answer(ClaimOf(name))
    if not isinstance(claim, Claim) or name in seen.refusals or claim.state is ClaimState.IN_FLIGHT:
        return False
    if claim.is_undone:
        return claim.run_uid == run.metadata.uid
    return claim.unused_for(seen.now) < JUST_NOW or _written(run, claim.used(seen.now))


def _has_done_something(status: RunStatus) -> bool:
    """Whether a run that is over has a result, or may have had an effect; its journal is not read for that."""
    return status.phase is Phase.SUCCEEDED or bool(status.journal) or any(map(_may_have_had_one, status.steps))


def _name(run: AgentRun) -> str:
    assert run.spec.idempotency_key
    return claim_name(run.metadata.namespace, run.spec.idempotency_key)


def _written(run: AgentRun, claim: Claim) -> WriteClaim:
    return WriteClaim(claim_manifest(run.metadata.namespace, claim))


def _own(run: AgentRun, state: ClaimState, effects: Effects) -> Claim:
    return Claim(
        task=run.spec.idempotency_key or "",
        run=run.metadata.name,
        run_uid=run.metadata.uid,
        digest=task_digest(run),
        state=state,
        effects=effects,
    )


def _outcome(claim: Claim, run: AgentRun, status: RunStatus, seen: Observed) -> Claim:
    """A run's own claim with what the run has come to.

    Effects that were left in it at the run's end stay possible: whoever knows of none now may have slept meanwhile.
    """
    told = claim.state is not ClaimState.IN_FLIGHT and claim.effects is Effects.POSSIBLE
    update = {
        "state": ClaimState(status.phase.value),
        "effects": Effects.POSSIBLE if told or _may_have_acted(run, status, seen) else claim.effects_before,
        "reason": status.reason,
        "message": status.message,
        "output": compact(status.output).decode() if status.output else "",
        "finished_at": status.finished_at,
    }
    return claim.model_copy(update=update)


def _may_have_acted(run: AgentRun, status: RunStatus, seen: Observed) -> bool:
    """Whether any step, also one in the journal, has had an effect, or may have."""
    records = Journal(run, status.journal).all_records(status.steps, seen)
    if isinstance(records, Lost):
        return True
    return any(map(_may_have_had_one, records))


def _may_have_had_one(step: StepStatus) -> bool:
    return step.effect_state is not EffectState.NONE or step.state in HOLDING_STATES
