"""What a run leaves in the claim of its task: that it has it, what came of it, and that somebody still needs it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from agentruns.core.actions import WriteClaim
from agentruns.core.claims import Free
from agentruns.core.naming import claim_name
from agentruns.core.observed import Observed
from agentruns.core.questions import ClaimOf, Lost, RunNow
from agentruns.core.records import FORMAT_VERSION, Phase, RunStatus
from agentruns.core.resources import AgentRun, Effect, ToolSpec
from agentruns.core.task_outcome import may_have_had_effect, outcome
from agentruns.core.tasks import Claim, ClaimState, Effects, claim_manifest, task_digest

JUST_NOW: Final = timedelta(minutes=1)
"""How long a use of a claim need not be noted again: many runs of a task may come to their end at once."""


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
    """What must be written before a run can be recorded as ended; else why its outcome is not kept, empty if it is.

    That nothing was done is not written yet: if the end is not recorded, the run may go on, and do it.
    """
    name = _name(run)
    claim, refusal = seen.answer(ClaimOf(name)), seen.refusals.get(name)
    own = isinstance(claim, Claim) and claim.run_uid == run.metadata.uid
    if not own and status.started_at is None:
        return _used(run, seen)  # it has never held the task
    if isinstance(claim, Claim) and not own:
        return _lost(run, status, f"ConfigMap {name} names run {claim.run} by now")
    if isinstance(claim, Lost):
        return _lost(run, status, claim.message)
    new = outcome(claim or _own(run, ClaimState.IN_FLIGHT, Effects.NONE), run, status, seen)
    if new.is_undone or (claim and new.says_the_same(claim)):
        return ""
    return _lost(run, status, refusal.message) if refusal else _written(run, new)


def _lost(run: AgentRun, status: RunStatus, why: str) -> str:
    stays = run.spec.ttl_after_finished is not None and _has_done_something(status)
    so = ", so ttlAfterFinished does not delete it" if stays else ""
    return f"; later runs of its task may not find its outcome{so}: {why}"


def _used(run: AgentRun, seen: Observed) -> WriteClaim | str:
    """The claim of another run, with the note that one of the key was there: so it is not forgotten soon after."""
    claim = seen.answer(ClaimOf(_name(run)))
    if not isinstance(claim, Claim) or claim.is_undone or claim.unused_for(seen.now) < JUST_NOW:
        return ""
    if refusal := seen.refusals.get(_name(run)):
        return f"; it may be forgotten early, since its claim cannot be written: {refusal.message}"
    return _written(run, claim.used(seen.now))


def outlived(run: AgentRun, seen: Observed) -> WriteClaim | bool:
    """Whether a claim stands for a run that is over, once it is deleted; or what is to be written first.

    If one does, a run made again from the same manifest ends as this one did. What has done nothing needs none.
    """
    if not run.spec.idempotency_key:
        return True
    if claim_first := mended(run, seen):
        return claim_first
    name, needed = _name(run), _has_done_something(run.status)
    claim = seen.answer(ClaimOf(name))
    if not isinstance(claim, Claim) or name in seen.refusals or claim.state is ClaimState.IN_FLIGHT:
        return not needed
    if claim.is_undone:
        return claim.run_uid == run.metadata.uid or not needed
    return claim.unused_for(seen.now) < JUST_NOW or _written(run, claim.used(seen.now))


def mended(run: AgentRun, seen: Observed) -> WriteClaim | None:
    """The claim of a run that is over as it should be; None if it is, or is another's, or may not be written.

    That the run has done nothing is written only now, and an operator that slept through its end may have written
    something else. Of a run that is over not all is kept in memory, so it is asked for.
    """
    if not run.spec.idempotency_key:
        return None
    claim = seen.answer(ClaimOf(_name(run)))
    if not isinstance(claim, Claim) or claim.run_uid != run.metadata.uid or _name(run) in seen.refusals:
        return None
    now = seen.answer(RunNow(run.metadata.name, run.metadata.uid))
    if now is None or now.status.format_version > FORMAT_VERSION:
        return None
    true = outcome(claim, now, now.status, seen)
    return None if true.says_the_same(claim) else _written(run, true)


def _has_done_something(status: RunStatus) -> bool:
    """Whether a run that is over has a result, or may have had an effect; its journal is not read for that."""
    return status.phase is Phase.SUCCEEDED or bool(status.journal) or any(map(may_have_had_effect, status.steps))


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
