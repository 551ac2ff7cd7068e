"""The state machine of one step: which part of it moves a step on, by the state that is recorded."""

from dataclasses import replace
from typing import Final, assert_never

from agentruns.core.actions import Create
from agentruns.core.approvals import because
from agentruns.core.asking import asked, doubted, is_open
from agentruns.core.look import Look, Moved
from agentruns.core.problems import Problem, within
from agentruns.core.records import FINAL_STATES, IN_FLIGHT_STATES, EffectState, StepState, StepStatus
from agentruns.core.settling import given_up, settling, unsettled
from agentruns.core.starting import started, waited
from agentruns.core.underway import stopped, watched

NOT_RETRIED: Final = "NotRetried"
"""The reason of a step that was given up between two attempts, the last of which may have had its effect."""


def advance(look: Look) -> Moved:
    """One move of a step whose needs are met; what cannot work ends it, and a doubt is taken up at once."""
    try:
        moved = given_up(look) or _advance(look)
    except Problem as problem:
        return Moved(look.failed(problem.reason, str(problem)))
    new_doubt = moved.record.state is StepState.IN_DOUBT is not look.record.state
    return _taken_up(replace(look, record=moved.record)) if new_doubt else moved


def _advance(look: Look) -> Moved:
    match look.record.state:
        case StepState.PENDING:
            return _considered(look)
        case StepState.AWAITING_APPROVAL:
            return Moved(look.record) if is_open(look) else asked(look, look.attempt())
        case StepState.PREPARED | StepState.RUNNING:
            return watched(look)
        case StepState.WAITING:
            return waited(look)
        case StepState.IN_DOUBT:
            return settling(look) if look.record.is_settling else doubted(look)
        case StepState.SUCCEEDED | StepState.FAILED | StepState.SKIPPED | StepState.CANCELLED:
            return Moved(look.record)
        case unreachable:
            assert_never(unreachable)


def _taken_up(look: Look) -> Moved:
    """A step that is in doubt since now: its settle tool is asked, or a person; about such a call itself, nobody."""
    if look.record.is_settle_call:
        return Moved(look.failed(look.record.reason, look.record.message))
    return settling(look) if look.tool.settle else doubted(look)


def _considered(look: Look) -> Moved:
    """A step that nothing was done for yet: skipped, asked about, or started."""
    if when := look.step.when:
        with within("when"):
            wanted = look.reader.truth(when)
        if not wanted:
            return Moved(look.ended(StepState.SKIPPED, "ConditionFalse", f"when: {when}"))
    attempt = look.attempt()
    return asked(look, attempt) if because(look.step, attempt, look.seen) else started(look, attempt)


def wind_down(look: Look, *, stop: bool) -> Moved:
    """One move of a step in a run that is ending: nothing new begins, what is in flight is stopped or awaited."""
    in_flight = look.record.state in IN_FLIGHT_STATES
    moved = (stopped(look) if stop else watched(look)) if in_flight else Moved(_at_rest(look))
    wanted = [it.name for it in moved.preparations if isinstance(it, Create)]
    refused = [refusal for name in wanted if (refusal := look.seen.refusals.get(name))]
    if refused and (stop or not refused[0].for_now):
        said = f"the result cannot be stored: {refused[0].message}"
        return Moved(replace(look, record=moved.record).failed("InvalidResult", said))
    if moved.record.state in IN_FLIGHT_STATES | FINAL_STATES | {StepState.IN_DOUBT}:
        return moved
    left = replace(look, record=moved.record)
    if left.record.effect_state is EffectState.MAY_BE_DONE:
        said = f"it was not tried again, and may have been done: {left.record.message}"
        return Moved(left.ended(StepState.CANCELLED, NOT_RETRIED, said))
    return Moved(left.ended(StepState.CANCELLED, "RunEnded", left.record.message))


def _at_rest(look: Look) -> StepStatus:
    """The record of a step without a pod, in a run that is ending; what its settle tool says will not be heard."""
    return unsettled(look, "its run was ended").record if look.record.is_settling else look.record
