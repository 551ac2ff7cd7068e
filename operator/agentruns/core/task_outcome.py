"""What a run that is over has come to, in the words of the claim of its task."""

from agentruns.core.digests import compact
from agentruns.core.journal import Journal
from agentruns.core.observed import Observed
from agentruns.core.questions import Lost
from agentruns.core.records import HOLDING_STATES, EffectState, RunStatus, StepStatus
from agentruns.core.resources import AgentRun
from agentruns.core.tasks import Claim, ClaimState, Effects


def outcome(claim: Claim, run: AgentRun, status: RunStatus, seen: Observed) -> Claim:
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
    return any(map(may_have_had_effect, records))


def may_have_had_effect(step: StepStatus) -> bool:
    """Whether a step has had an effect, or may have."""
    return step.effect_state is not EffectState.NONE or step.state in HOLDING_STATES
