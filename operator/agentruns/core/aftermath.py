"""What is left to do about pods and Approvals whose part in a run is over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agentruns.core.actions import (
    Action,
    CollectPods,
    DeletePod,
    DeleteRun,
    Preparation,
    ReleasePod,
    SettleApproval,
    WriteClaim,
)
from agentruns.core.attempts import GRACE, PATIENCE, stop
from agentruns.core.claim_writes import mended, outlived
from agentruns.core.journal import Journal
from agentruns.core.model import earliest
from agentruns.core.observed import Observed, PodSeen
from agentruns.core.records import (
    FINAL_PHASES,
    FINAL_STATES,
    HOLDING_STATES,
    IN_FLIGHT_STATES,
    Phase,
    RunStatus,
    StepState,
    StepStatus,
)
from agentruns.core.resources import AgentRun, ApprovalState

STAYS: Final = timedelta(hours=1)
"""How long a run whose outcome is nowhere else goes without a look at whether it may be deleted after all."""

JUST_ENDED: Final = timedelta(minutes=10)
"""For which it is looked after that the claim of a run says so if it has done nothing: it could not before the end."""


@dataclass(frozen=True)
class Left:
    """Actions that tidy up, each safe to be done twice, what must be there before, and when there is more to do."""

    actions: tuple[Action, ...]
    wake_at: datetime | None
    preparations: tuple[Preparation, ...] = ()


def loose_ends(run: AgentRun, status: RunStatus, seen: Observed) -> Left:
    """What is to be done about pods that no step in flight holds, and about questions nobody needs answered."""
    deleted = run.metadata.deletion_timestamp is not None
    final = status.phase in FINAL_PHASES
    holding = IN_FLIGHT_STATES if final else HOLDING_STATES
    held = {record.pod_uid for record in status.steps if record.state in holding}
    records = {record.name: record for record in status.steps}
    ending = deleted or final
    journal = Journal(run, status.journal)
    open_ = (pod for pod in seen.pods.values() if pod.end is None or pod.gated or pod.held)
    over = [
        (pod, record)
        for pod, record in ((pod, records.get(pod.step)) for pod in open_)
        if deleted or pod.uid not in held or _has_said_all(pod, record)
        if ending or (pod.gated and pod.step in journal) or not _may_be_wanted(pod, record)
    ]
    actions = [action for pod, record in over for action in _for_pod(pod, record, seen, deleted=deleted)]
    running = [pod for pod, _ in over if pod.runs and not pod.stopping]
    wake_at = seen.now + (PATIENCE if deleted else GRACE) if running else None
    return Left(tuple(actions) + _unneeded_questions(status, seen), wake_at)


def _may_be_wanted(pod: PodSeen, record: StepStatus | None) -> bool:
    """Whether a pod may be one that its step holds: made by a pass that came to no end, or recorded since.

    A pod without its gate was recorded by somebody; a record that does not name it is older than that, or newer. One
    with its gate is of an attempt that is over, where the record has come as far: a look from before made it anew.
    """
    if record is None or not pod.gated:
        return record is None or record.pod_uid != pod.uid
    is_later = (pod.epoch, pod.attempt) > (record.epoch, record.attempt)
    return is_later and pod.uid != record.pod_uid and record.state not in FINAL_STATES


def _has_said_all(pod: PodSeen, record: StepStatus | None) -> bool:
    """Whether the pod of a step in doubt is being deleted and has ended: kept, it would keep its namespace for ever."""
    in_doubt = record is not None and record.state is StepState.IN_DOUBT
    return in_doubt and pod.deleting and not pod.active


def _for_pod(pod: PodSeen, record: StepStatus | None, seen: Observed, *, deleted: bool) -> list[Action]:
    """What is to be done about one pod: unstarted ones go, ended ones are released, late ones are stopped."""
    if pod.gated and not pod.deleting:
        return [DeletePod(pod.name, pod.uid, pod.resource_version)]
    actions: list[Action] = [ReleasePod(pod.name, pod.uid)] if pod.held else []
    if not pod.runs:
        return actions
    finished_at = record.finished_at if record and record.pod_uid == pod.uid else None
    late = deleted or (finished_at is not None and seen.now >= finished_at + GRACE)
    return [*stop(pod), *actions] if late else actions


def of_nobody(pod: PodSeen) -> list[Action]:
    """What is to be done about a pod that was left when its run was deleted: it is stopped, and then goes."""
    if pod.active and pod.node and not pod.deleting:
        return [*stop(pod)]
    deleted: list[Action] = [] if pod.deleting else [DeletePod(pod.name, pod.uid, pod.resource_version)]
    return [*deleted, ReleasePod(pod.name, pod.uid)] if pod.held else deleted


def _unneeded_questions(status: RunStatus, seen: Observed) -> tuple[Action, ...]:
    """Approvals nobody decided on in time: they say so, and keep their place in the record."""
    if status.phase not in FINAL_PHASES:
        return ()
    return tuple(
        SettleApproval(it.metadata.name, it.metadata.uid, it.metadata.resource_version, ApprovalState.SUPERSEDED)
        for it in seen.approvals.values()
        if it.status.state is ApprovalState.PENDING
    )


def after_the_end(run: AgentRun, seen: Observed) -> Left:
    """What is left to do about a finished run: its record stays as it is, its pods and at last itself may go."""
    left = loose_ends(run, run.status, seen)
    finished_at = run.status.finished_at or seen.now
    actions, wakes = list(left.actions), [left.wake_at]
    if not all(pod.deleting for pod in seen.pods.values()):
        collect_at = finished_at + seen.pod_retention
        due = seen.now >= collect_at
        actions += [CollectPods()] if due else []
        wakes.append(None if due else collect_at)
    just_ended = seen.now < finished_at + JUST_ENDED
    if just_ended and run.status.phase is not Phase.SUCCEEDED and (claim := mended(run, seen)):
        return Left((), None, (claim,))
    expiry = _expiry(run, finished_at, seen)
    return Left((*actions, *expiry.actions), earliest([*wakes, expiry.wake_at]), expiry.preparations)


def _expiry(run: AgentRun, finished_at: datetime, seen: Observed) -> Left:
    """What the time to live of a finished run has come to: it goes if the claim of its task stands for it."""
    if run.spec.ttl_after_finished is None or run.metadata.deletion_timestamp is not None:
        return Left((), None)
    delete_at = finished_at + run.spec.ttl_after_finished
    if seen.now < delete_at:
        return Left((), delete_at)
    claim = outlived(run, seen)
    if isinstance(claim, WriteClaim):
        return Left((), None, (claim,))
    if claim:
        return Left((DeleteRun(run.metadata.uid, run.metadata.resource_version),), None)
    return Left((), seen.now + STAYS)
