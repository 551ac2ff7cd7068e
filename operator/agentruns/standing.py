"""What there is, counted when the metrics are read, so that nothing is counted while nobody asks."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from agentruns import metrics
from agentruns.clock import utc_now
from agentruns.core.records import Phase, StepState
from agentruns.core.resources import ApprovalState
from agentruns.queue import Queue
from agentruns.store import Store


def describe(store: Store, queues: Mapping[str, Queue]) -> None:
    """Has the metrics tell what the store knows, and how many objects of each kind wait in the queues."""
    for phase in Phase:
        metrics.RUNS.labels(phase.value).set_function(partial(_runs_in, store, phase))
    for kind, queue in queues.items():
        metrics.QUEUE_DEPTH.labels(kind).set_function(partial(getattr, queue, "depth"))
        metrics.PASS_ERRORS.labels(kind)
    metrics.APPROVALS_PENDING.set_function(lambda: len(_pending(store)))
    metrics.OLDEST_APPROVAL.set_function(lambda: _age(min(_pending(store), default=None)))
    metrics.STEPS_IN_DOUBT.set_function(lambda: _in_doubt(store))


def _runs_in(store: Store, phase: Phase) -> int:
    return sum(run.status.phase is phase for run in list(store.runs.values()))


def _pending(store: Store) -> list[datetime]:
    """When each open question was asked."""
    return [
        it.metadata.creation_timestamp
        for it in store.all_approvals()
        if it.status.state is ApprovalState.PENDING and it.spec.decision is None
    ]


def _age(since: datetime | None) -> float:
    return (utc_now() - since).total_seconds() if since else 0.0


def _in_doubt(store: Store) -> int:
    unfinished = [run for run in list(store.runs.values()) if not run.is_final]
    return sum(
        step.state is StepState.IN_DOUBT and not step.is_settling for run in unfinished for step in run.status.steps
    )
