"""What a run leaves in the claim of its task: that it has it, and what came of it."""

from collections.abc import Iterable

from agentruns.core.actions import WriteClaim
from agentruns.core.claims import Free
from agentruns.core.digests import compact
from agentruns.core.journal import Journal
from agentruns.core.naming import claim_name
from agentruns.core.observed import Observed
from agentruns.core.questions import ClaimOf, Lost
from agentruns.core.records import HOLDING_STATES, EffectState, RunStatus
from agentruns.core.resources import AgentRun, Effect, ToolSpec
from agentruns.core.tasks import Claim, ClaimState, Effects, claim_manifest, task_digest


def claimed(run: AgentRun, turn: Free | Claim, tools: Iterable[ToolSpec]) -> WriteClaim | None:
    """The claim that a run must have before it begins with these tools; None if the one that it has says so.

    Until the run ends, all that its tools can do is possible: what a Tool says may have changed since it was claimed.
    """
    acts = any(tool.effect is not Effect.READ_ONLY for tool in tools)
    if isinstance(turn, Claim):
        if not acts or turn.effects is Effects.POSSIBLE:
            return None
        wider = turn.model_copy(update={"effects": Effects.POSSIBLE})
        return WriteClaim(claim_manifest(run.metadata.namespace, wider))
    taken = _own(run, ClaimState.IN_FLIGHT, Effects.POSSIBLE if acts else turn.effects_before)
    update = {
        "effects_before": turn.effects_before,
        "decision": turn.decision,
        "resource_version": turn.resource_version,
    }
    return WriteClaim(claim_manifest(run.metadata.namespace, taken.model_copy(update=update)))


def kept(run: AgentRun, status: RunStatus, seen: Observed) -> WriteClaim | str:
    """What must be written before a run can be recorded as ended; else why its outcome is not kept, empty if it is."""
    assert run.spec.idempotency_key
    name = claim_name(run.metadata.namespace, run.spec.idempotency_key)
    claim = seen.answer(ClaimOf(name))
    if isinstance(claim, Claim) and claim.run_uid == run.metadata.uid:
        new = _outcome(claim, run, status, seen)
        return "" if new.says_the_same(claim) else WriteClaim(claim_manifest(run.metadata.namespace, new))
    if status.started_at is None:
        return ""  # it has never held the task
    lost = "; later runs of its task will not find its outcome: "
    if isinstance(claim, Claim):
        return f"{lost}ConfigMap {name} names run {claim.run} by now"
    if isinstance(claim, Lost):
        return f"{lost}{claim.message}"
    if refusal := seen.refusals.get(name):
        return f"{lost}{refusal.message}"
    new = _outcome(_own(run, ClaimState.IN_FLIGHT, Effects.NONE), run, status, seen)
    return WriteClaim(claim_manifest(run.metadata.namespace, new))


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
    """A run's own claim with what the run has come to."""
    update = {
        "state": ClaimState(status.phase.value),
        "effects": Effects.POSSIBLE if _may_have_acted(run, status, seen) else claim.effects_before,
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
    return any(it.effect_state is not EffectState.NONE or it.state in HOLDING_STATES for it in records)
