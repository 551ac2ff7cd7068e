"""What may end a run before its steps have: an ordered chain, the first that applies wins."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from agentruns.core.attempts import Outcome
from agentruns.core.model import in_seconds
from agentruns.core.records import Phase, RunStatus, StepState
from agentruns.core.resources import AgentRun


@dataclass(frozen=True)
class Ending:
    """Why a run is being ended. `stop`: what is in flight is stopped, and not waited for."""

    phase: Phase
    reason: str
    message: str
    stop: bool
    step: str = ""
    """The step whose failure this is, if it is one."""


def ending(run: AgentRun, status: RunStatus, now: datetime) -> Ending | None:
    """The first limit that applies to a run; None if it may go on."""
    for limit in _CHAIN:
        if found := limit(run, status, now):
            return found
    return None


def _cancelled(run: AgentRun, status: RunStatus, now: datetime) -> Ending | None:
    del status, now
    if run.spec.desired_state != "Cancelled":
        return None
    return Ending(Phase.CANCELLED, "CancelledByUser", "desiredState is Cancelled", stop=True)


def _deadline(run: AgentRun, status: RunStatus, now: datetime) -> Ending | None:
    deadline = run.spec.deadline
    if deadline is None or active_time(status, now) < deadline:
        return None
    said = f"its deadline of {in_seconds(deadline)} of active time is over"
    return Ending(Phase.FAILED, "DeadlineExceeded", said, stop=True)


def _step_failed(run: AgentRun, status: RunStatus, now: datetime) -> Ending | None:
    del now
    all_failed = [it for it in status.steps if it.state is StepState.FAILED]
    fatal = {step.name for step in run.spec.steps if step.on_failure == "Fail"} if all_failed else set()
    failed = next((it for it in all_failed if it.name in fatal), None)
    if failed is None:
        return None
    reason = "StepFailed" if failed.reason == Outcome.PERMANENT else failed.reason
    return Ending(Phase.FAILED, reason, f"step {failed.name}: {failed.message}", stop=False, step=failed.name)


_CHAIN: tuple[Callable[[AgentRun, RunStatus, datetime], Ending | None], ...] = (
    _cancelled,  # a person's word goes first
    _deadline,
    _step_failed,
)


def active_time(status: RunStatus, now: datetime) -> timedelta:
    """How long a run was active; waiting for people and being paused do not count."""
    since = now - status.active_since if status.active_since else timedelta(0)
    return timedelta(seconds=status.active_seconds) + since


def time_left(run: AgentRun, status: RunStatus, now: datetime) -> timedelta | None:
    """The active time that is left before the deadline; None without one."""
    return None if run.spec.deadline is None else run.spec.deadline - active_time(status, now)
