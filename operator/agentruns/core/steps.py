"""The state machine of one step: which part of it moves a step on, by the state that is recorded."""

from typing import assert_never

from agentruns.core.approvals import because
from agentruns.core.asking import asked, doubted
from agentruns.core.inputs import Problem
from agentruns.core.look import Look, Moved
from agentruns.core.resources import IN_FLIGHT_STATES, StepState
from agentruns.core.starting import started, waited
from agentruns.core.watching import stopped, watched


def advance(look: Look) -> Moved:
    """One move of a step whose needs are met; what cannot work ends it, naming the field."""
    try:
        return _advance(look)
    except Problem as problem:
        return Moved(look.failed("InvalidSpec", str(problem)))


def _advance(look: Look) -> Moved:
    match look.record.state:
        case StepState.PENDING:
            return _considered(look)
        case StepState.AWAITING_APPROVAL:
            return asked(look)
        case StepState.PREPARED | StepState.RUNNING:
            return watched(look)
        case StepState.WAITING:
            return waited(look)
        case StepState.IN_DOUBT:
            return doubted(look)
        case StepState.SUCCEEDED | StepState.FAILED | StepState.SKIPPED | StepState.CANCELLED:
            return Moved(look.record)
        case unreachable:
            assert_never(unreachable)


def _considered(look: Look) -> Moved:
    """A step that nothing was done for yet: skipped, asked about, or started."""
    when = look.step.when
    if when and not look.reader.truth(when, f"step {look.step.name}: when"):
        return Moved(look.ended(StepState.SKIPPED, "ConditionFalse", f"when: {when}"))
    attempt = look.attempt()
    return asked(look) if because(look.step, attempt, look.seen) else started(look, attempt)


def wind_down(look: Look, *, stop: bool) -> Moved:
    """One move of a step in a run that is ending: nothing new begins, what is in flight is stopped or awaited."""
    record = look.record
    if record.state is StepState.IN_DOUBT:
        return Moved(record)
    if record.state not in IN_FLIGHT_STATES:
        return Moved(look.ended(StepState.CANCELLED, "RunEnded"))
    moved = stopped(look) if stop else watched(look)
    if moved.record.state is StepState.WAITING:
        return Moved(look.ended(StepState.CANCELLED, "RunEnded", moved.record.message))
    return moved
