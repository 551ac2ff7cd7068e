"""What `kubectl get` answers from where the steps stand: progress, what is waited for, active time, conditions."""

import re
from datetime import datetime
from typing import Final

from agentruns.core.attempts import NOT_STARTED
from agentruns.core.conditions import conditions
from agentruns.core.journal import done
from agentruns.core.limits import active_time
from agentruns.core.model import whole_seconds
from agentruns.core.observed import POD_LIMIT_REACHED
from agentruns.core.problems import printable
from agentruns.core.records import (
    FINAL_PHASES,
    IN_FLIGHT_STATES,
    EffectState,
    Phase,
    RunStatus,
    StepState,
    StepStatus,
    WaitingFor,
)
from agentruns.core.resources import AgentRun

_RUN_MESSAGE_LENGTH: Final = 2048
_UNBEGUN: Final = frozenset({"WaitingForTool", "TaskHeld"})
"""Reasons of runs that wait for something before they begin."""
_ACTIVE: Final = frozenset({Phase.PENDING, Phase.RUNNING})
_ASKED: Final = frozenset({StepState.AWAITING_APPROVAL, StepState.IN_DOUBT})
LISTED: Final = 10
_FIRST: Final = {"DesiredState": 0, "Approval": 1}
_QUOTA: Final = re.compile(r"exceeded quota: ([a-z0-9.-]+)")
_LIMIT: Final = re.compile(r"limits\.(\w+)")


def summarised(run: AgentRun, status: RunStatus, now: datetime) -> RunStatus:
    """The status with everything filled in that follows from its phase, its reason and its steps."""
    waiting_for = _waiting_for(status)
    update = {
        "observed_generation": run.metadata.generation,
        "message": printable(status.message, _RUN_MESSAGE_LENGTH),
        "progress": f"{_done(run, status)}/{len(run.spec.steps)}" if run.spec.steps else "",
        "waiting_for": waiting_for,
        "waiting": _in_few_words(waiting_for),
        **_activity(status, now),
    }
    filled = status.model_copy(update=update)
    return filled.model_copy(update={"conditions": conditions(filled, run.metadata.generation, now)})


def _done(run: AgentRun, status: RunStatus) -> int:
    return done(run, status.steps) + sum(segment.done for segment in status.journal)


def done_before(records: tuple[StepStatus, ...], but: str = "") -> str:
    """What a run may have done and what it has, in words; of the step `but` enough is said elsewhere."""
    doubtful = [it.name for it in records if it.state is StepState.IN_DOUBT]
    perhaps = [it.name for it in records if it.effect_state is EffectState.MAY_BE_DONE]
    perhaps = [name for name in perhaps if name not in (*doubtful, but)]
    succeeded = [it.name for it in records if it.state is StepState.SUCCEEDED and not it.is_settle_call]
    said = f"IN DOUBT, may have been done, and nobody is asked any more: {_names(doubtful)}; " if doubtful else ""
    said += f"may have been done: {_names(perhaps)}; " if perhaps else ""
    return f"{said}done before: {_names(succeeded)}"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED]) or 'nothing'}{more}"


def let_pass(records: tuple[StepStatus, ...]) -> str:
    """Which steps of a run that succeeds have failed, in words; empty if none has."""
    failed = [it for it in records if it.state is StepState.FAILED and not it.is_settle_call]
    perhaps = [it.name for it in failed if it.effect_state is EffectState.MAY_BE_DONE]
    said = f"; failed, which the run lets pass: {_names([it.name for it in failed])}" if failed else ""
    return said + (f"; may have been done all the same: {_names(perhaps)}" if perhaps else "")


def observed(status: RunStatus, generation: int) -> RunStatus:
    """The status of a finished run whose spec was patched: seen, and nothing else about it changes."""
    conditions_ = tuple(it.model_copy(update={"observed_generation": generation}) for it in status.conditions)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions_})


def _waiting_for(status: RunStatus) -> tuple[WaitingFor, ...]:
    """What a run waits for beyond its tools' own work: people first, since they need to be told."""
    if status.phase in FINAL_PHASES:
        return ()
    if status.started_at is None and (status.phase is Phase.AWAITING_APPROVAL or status.reason in _UNBEGUN):
        return status.waiting_for  # no step is recorded yet that could say it
    found = [it for record in status.steps if (it := _obstacle(record))]
    if status.phase is Phase.PAUSED:
        found.append(WaitingFor(kind="DesiredState", name="Running"))
    return tuple(sorted(found, key=lambda it: _FIRST.get(it.kind, len(_FIRST)))[:LISTED])


def _obstacle(record: StepStatus) -> WaitingFor | None:
    """What keeps a step from going on: a person, a pod that does not begin, a quota or limit, or a time to come."""
    if record.state in _ASKED and record.approval and not record.is_settling:
        return WaitingFor(kind="Approval", name=record.approval, step=record.name)
    if record.state in IN_FLIGHT_STATES and record.reason == NOT_STARTED:
        return WaitingFor(kind="Pod", name=record.pod, step=record.name)
    if record.state is not StepState.WAITING:
        return None
    if record.reason == POD_LIMIT_REACHED and (limit := _LIMIT.match(record.message)):
        return WaitingFor(kind="PodLimit", name=limit[1], step=record.name)
    if record.next_attempt_at is None:
        return None
    if record.reason == "QuotaExceeded" and (full := _QUOTA.search(record.message)):
        return WaitingFor(kind="ResourceQuota", name=full[1], step=record.name)
    return WaitingFor(kind="Time", name=whole_seconds(record.next_attempt_at), step=record.name)


def _in_few_words(waiting_for: tuple[WaitingFor, ...]) -> str:
    if not waiting_for:
        return ""
    more = f" +{len(waiting_for) - 1}" if len(waiting_for) > 1 else ""
    return f"{waiting_for[0].kind}/{waiting_for[0].name}{more}"


def _activity(status: RunStatus, now: datetime) -> dict[str, object]:
    """Active time, written only when it starts or stops to count, so that nothing ticks."""
    active = status.phase in _ACTIVE and status.started_at is not None
    if active:
        return {"active_since": status.active_since or now}
    return {"active_since": None, "active_seconds": int(active_time(status, now).total_seconds())}
