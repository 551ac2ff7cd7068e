"""What there is, counted for a scrape of the metrics."""

from collections import Counter

from agentruns.clock import utc_now
from agentruns.core.resources import ApprovalState, Phase, StepState
from agentruns.metrics import Snapshot
from agentruns.store import Store


def snapshot(store: Store) -> Snapshot:
    """The numbers of runs by phase, of open questions, and the age of the oldest one."""
    runs = list(store.runs.values())
    phases = Counter({phase.value: 0 for phase in Phase})
    phases.update(run.status.phase.value for run in runs)
    pending = [
        it.metadata.creation_timestamp for it in store.all_approvals() if it.status.state is ApprovalState.PENDING
    ]
    return Snapshot(
        runs=phases,
        approvals_pending=len(pending),
        oldest_approval_seconds=(utc_now() - min(pending)).total_seconds() if pending else 0.0,
        steps_in_doubt=sum(step.state is StepState.IN_DOUBT for run in runs for step in run.status.steps),
    )
