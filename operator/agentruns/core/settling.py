"""Settling a doubt without a person: the Tool's settle tool is called, and what it says of the effect is believed.

The call is a record beside its step's, moved like any step that only reads. It begins once the doubted attempt is
closed, or past its hard end, and a while later: an effect that is still under way must never be declared absent.
"""

from datetime import datetime, timedelta
from typing import Final

from agentruns.core import outputs
from agentruns.core.asking import CAUSE_LENGTH, doubted
from agentruns.core.attempts import Ended, Outcome, Underway, examined
from agentruns.core.expressions import Data, value
from agentruns.core.look import Look, Moved
from agentruns.core.model import whole_seconds
from agentruns.core.naming import doubted_step, settle_call
from agentruns.core.problems import Problem, json_type
from agentruns.core.records import (
    FINAL_STATES,
    IN_FLIGHT_STATES,
    SETTLING,
    SETTLING_EARLY,
    EffectState,
    StepState,
    StepStatus,
)
from agentruns.core.resources import Effect, Settle, Step
from agentruns.core.underway import again, stopped

UNSETTLED: Final = "Unsettled"
"""The reason of a step in doubt about which its settle tool could say nothing, or was not asked."""
NOT_DONE: Final = "NotDone"
"""The reason of a step that is tried again, since its settle tool says that nothing was done."""
LOOK_AGAIN: Final = timedelta(seconds=15)
_SETTLING: Final = "; settling: "


def call_of(step: Step, settle: Settle) -> Step:
    """The call that settles a doubt about a step, as a step: the same arguments, and nothing that ends a run."""
    return Step(name=settle_call(step.name), tool=settle.tool, args=step.args, on_failure="Continue")


def settling(look: Look) -> Moved:
    """One move of a step in doubt whose Tool has a settle tool."""
    found = examined(look.record, look.seen)
    if isinstance(found, Ended) and found.outcome is Outcome.SUCCEEDED and found.result:
        return outputs.judged(look, found.result.output)  # it could be read after all
    if not look.record.is_settling or look.record.next_attempt_at is None:
        return _called(look.recording(reason=SETTLING), found)
    call = look.reader.records[settle_call(look.step.name)]
    return _concluded(look, call, found) if call.state in FINAL_STATES else Moved(look.record)


def _called(look: Look, found: Ended | Underway) -> Moved:
    """The call due a while after the attempt was closed or its hard end has passed; until then that is waited for."""
    settle = _settle(look)
    closed, now = _is_closed(found), look.seen.now
    if not closed and (over := _over_at(look)) > now:
        said = f"{settle.tool} is asked once the attempt has ended"
        return Moved(_saying(look.recording(next_attempt_at=None), said), wake_at=over)
    due = now + settle.after
    if over_at := look.over_at:  # nobody saw it end: it may go on, or even begin, until then
        due = max(due, look.record.next_attempt_at or over_at)
    before = look.reader.records.get(settle_call(look.step.name))
    call = StepStatus(
        name=settle_call(look.step.name),
        state=StepState.WAITING,
        reason=SETTLING,
        epoch=before.epoch + 1 if before else 0,  # no pod of an earlier call is taken for one of this
        next_attempt_at=due,
    )
    asking = look.recording(reason=SETTLING if closed else SETTLING_EARLY, next_attempt_at=due)
    said = f"{settle.tool} is asked at {whole_seconds(due)}"
    return Moved(_saying(asking, said), call=call, wake_at=due)


def _is_closed(found: Ended | Underway) -> bool:
    return isinstance(found, Ended) and found.closed


def _over_at(look: Look) -> datetime:
    """When an attempt that is not closed has certainly ended, unless its node is lost; soon, if that is not known."""
    return (look.pod and look.over_at) or look.seen.now + LOOK_AGAIN


def _concluded(look: Look, call: StepStatus, found: Ended | Underway) -> Moved:
    """What follows from a call that has ended; only a clean true or false says anything."""
    tool = _settle(look).tool
    try:
        happened = _answer(look, call)
    except Problem as error:
        return doubted(unsettled(look, f"{tool} could not tell: {error}"))
    if happened:
        return _happened(look, call)
    if look.record.reason == SETTLING:
        said = f"{_cause(look)}{_SETTLING}{tool} says that nothing was done"
        return again(look.recording(effect_state=_before(look)), Ended(Outcome.TRANSIENT, True, NOT_DONE, said))
    if _is_closed(found):  # it was asked before that, and the effect may have come later
        return _called(look, found)
    said = f"{tool} says that nothing was done yet, but the attempt is not known to have ended"
    return doubted(unsettled(look, said))


def _answer(look: Look, call: StepStatus) -> bool:
    """Whether the effect happened, as the settle tool says; Problem if it does not say."""
    if call.state is not StepState.SUCCEEDED:
        raise Problem(f"its call is {call.state}: {call.reason}{call.message and f', {call.message}'}")
    environment = {"result": Data(look.reader.output(call)), "args": Data(look.args())}
    found = value(_settle(look).happened, environment, look.seen)
    if not isinstance(found, bool):
        raise Problem(f"settle.happened must be true or false, and is: {json_type(found)}")
    return found


def _happened(look: Look, call: StepStatus) -> Moved:
    """The step succeeded with what its settle tool returned; a person gives the output where that cannot be it."""
    tool, output = _settle(look).tool, look.reader.output(call)
    moved = outputs.judged(look.recording(effect_state=look.effect(EffectState.DONE)), output)
    if moved.preparations:
        return Moved(look.record, preparations=moved.preparations)
    if moved.record.state is StepState.FAILED:
        said = f"{tool} says that it happened, but what it returned cannot be the output: {moved.record.message}"
        return doubted(unsettled(look, said))
    said = f"{_cause(look)}{_SETTLING}{tool} says that it happened"
    return Moved(moved.record.model_copy(update={"message": said}))


def _before(look: Look) -> EffectState:
    """What was known of the effect before the doubted attempt: one that a person had run again is still in the dark."""
    known = look.record.epoch == 0 and look.tool.effect is Effect.NON_IDEMPOTENT
    return EffectState.NONE if known else look.record.effect_state


def unsettled(look: Look, said: str) -> Look:
    """A step in doubt that is not being settled any more, with why."""
    message = f"{_cause(look)}{_SETTLING}{said}"
    return look.recording(reason=UNSETTLED, message=message, next_attempt_at=None)


def given_up(look: Look) -> Moved | None:
    """One move of a call whose step is not in doubt any more, which nobody needs; None of anything else."""
    if not look.record.is_settle_call or look.reader.records[doubted_step(look.step.name)].is_settling:
        return None
    if look.record.state in IN_FLIGHT_STATES:
        return stopped(look)
    return Moved(look.ended(StepState.CANCELLED, "NotNeeded"))


def _settle(look: Look) -> Settle:
    assert look.tool.settle is not None
    return look.tool.settle


def _cause(look: Look) -> str:
    """Why the step is in doubt, without what was said of settling it."""
    return look.record.message.partition(_SETTLING)[0][:CAUSE_LENGTH]


def _saying(look: Look, said: str) -> StepStatus:
    return look.recording(message=f"{_cause(look)}{_SETTLING}{said}").record
