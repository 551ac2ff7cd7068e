"""An attempt underway: ungated, waited for, stopped in time, and concluded."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from agentruns.core import outputs
from agentruns.core.actions import DeletePod, StopPod, Ungate
from agentruns.core.attempts import (
    GRACE,
    NOT_STARTED,
    PATIENCE,
    Ended,
    Next,
    Outcome,
    Underway,
    backoff,
    examined,
    follows,
    stop,
)
from agentruns.core.look import Look, Moved
from agentruns.core.model import in_seconds
from agentruns.core.observed import PodSeen, ToolResult
from agentruns.core.problems import Problem
from agentruns.core.questions import PodIsGone, ResultOf
from agentruns.core.records import EffectState, StepState, StepStatus
from agentruns.core.resources import Effect

QUIET_START: Final = timedelta(seconds=2)
"""A pod that runs longer than this is recorded as Running; a shorter one needs no write for it."""
_MAY_HAVE_DONE: Final = frozenset({Outcome.SUCCEEDED, Outcome.INVALID_RESULT, Outcome.UNKNOWN})


def watched(look: Look) -> Moved:
    """A step whose pod is recorded, one look further."""
    found = _timed_out(look, examined(look.record, look.seen))
    match found:
        case Underway():
            return _underway(look, found)
        case Ended():
            return _ended(look, found)
        case unreachable:
            assert_never(unreachable)


def _ended(look: Look, found: Ended) -> Moved:
    """What follows from an outcome: a success at once, all else once its process has ended.

    Past its hard end, a failure need not wait for that, and what must not be repeated is asked about.
    """
    following, pod = follows(look.tool.effect, found.outcome), look.pod
    if found.closed or following is Next.SUCCEED:
        return _after(look, found, following)
    assert pod is not None  # only a result ends an attempt before its pod has
    if _is_past_its_end(look, pod):
        if following is Next.FAIL:
            return _after(look, found, following)
        if _is_asked_about(look) and not look.seen.answer(PodIsGone(pod.name, pod.uid)):
            return _after(look, _silent(pod, f"it said {found.outcome} ({found.message}), but "), Next.ASK)
    return _closing(look, pod)


def _timed_out(look: Look, found: Ended | Underway) -> Ended | Underway:
    """An attempt stopped at its timeout says so; what its tool says of having been stopped tells a person nothing."""
    if isinstance(found, Ended) and found.outcome is Outcome.UNKNOWN and look.pod and _ran_too_long(look, look.pod):
        said = f"it ran longer than its timeout of {in_seconds(look.timeout)}"
        return replace(found, reason="TimedOut", message=said)
    return found


def _ran_too_long(look: Look, pod: PodSeen) -> bool:
    finished_at = pod.end.finished_at if pod.end else look.seen.now  # its last phase may be told before its end
    return bool(pod.started_at and finished_at and finished_at >= pod.started_at + look.timeout)


def stopped(look: Look) -> Moved:
    """A step whose pod is recorded, in a run that is being ended: never ungated, stopped, and concluded.

    Nothing follows that would have to wait for its process, so it is concluded past its hard end in any case.
    """
    found, pod = examined(look.record, look.seen), look.pod
    if pod is not None and isinstance(found, Underway):
        found = _given_up(look, pod) or found
    late = pod is not None and _is_past_its_end(look, pod)
    if isinstance(found, Ended) and (found.closed or found.outcome is Outcome.SUCCEEDED or late):
        if found.outcome is Outcome.UNKNOWN:
            found = replace(found, message=f"{found.message} (while its run was being ended)")
        return _after(look, found, follows(look.tool.effect, found.outcome))
    if pod is None:
        return Moved(look.record, wake_at=look.seen.now + timedelta(seconds=1))
    return Moved(look.record, actions=end_of(pod), wake_at=look.seen.now + PATIENCE)


def _given_up(look: Look, pod: PodSeen) -> Ended | None:
    """The outcome of an attempt that is past its hard end and says nothing; None where there is time, or news of it."""
    if not _is_past_its_end(look, pod):
        return None
    if look.seen.answer(PodIsGone(pod.name, pod.uid)) or isinstance(look.seen.answer(ResultOf(pod.uid)), ToolResult):
        return None  # which is seen at the next look
    return _silent(pod)


def _silent(pod: PodSeen, said: str = "") -> Ended:
    message = f"{said}pod {pod.name} did not answer to being stopped; its node {pod.node} may be lost"
    return Ended(Outcome.UNKNOWN, False, "NodeLost", message)


def _is_past_its_end(look: Look, pod: PodSeen) -> bool:
    """Whether a pod has ended for certain, or its node is lost; one that no node has is deleted, and then is over."""
    return bool(pod.node) and look.seen.now >= look.hard_end(pod.started_at or pod.not_after)


def _is_asked_about(look: Look) -> bool:
    """Whether an attempt that does not end is asked about, and not waited for: a doubt waits, or would come of it."""
    return look.record.is_settle_call or follows(look.tool.effect, Outcome.UNKNOWN) is Next.ASK


def end_of(pod: PodSeen) -> tuple[StopPod | DeletePod, ...]:
    """How a pod is ended: deleted as long as no node has it, stopped by its kubelet afterwards."""
    return stop(pod) if pod.node else (DeletePod(pod.name, pod.uid, pod.resource_version),)


def _underway(look: Look, found: Underway) -> Moved:
    pod = look.pod
    if pod is None:
        return Moved(look.record, wake_at=look.seen.now + timedelta(seconds=1))
    if pod.gated and not pod.deleting:
        return Moved(look.record, actions=(_out_of_its_gate(look, pod),), wake_at=look.seen.now + PATIENCE)
    if _is_asked_about(look) and (lost := _given_up(look, pod)):
        return _after(look, lost, Next.ASK)
    if pod.started_at is None:
        return _unbegun(look, found, pod)
    return _running(look, pod, pod.started_at)


def _out_of_its_gate(look: Look, pod: PodSeen) -> Ungate | DeletePod:
    """A recorded pod is ungated, or deleted if hardly any of its time to begin is left: then it has not been tried."""
    in_time = look.seen.now + PATIENCE < pod.not_after
    return Ungate(pod.name, pod.uid) if in_time else DeletePod(pod.name, pod.uid, pod.resource_version)


def _running(look: Look, pod: PodSeen, started_at: datetime) -> Moved:
    """A pod that runs: recorded as such if it takes a while, stopped at its timeout."""
    now, deadline = look.seen.now, started_at + look.timeout
    if now >= deadline:
        return Moved(_as_running(look, pod), actions=stop(pod), wake_at=now + PATIENCE)
    if now < started_at + QUIET_START:
        return Moved(look.record, wake_at=min(started_at + QUIET_START, deadline))
    return Moved(_as_running(look, pod), wake_at=deadline)


def _as_running(look: Look, pod: PodSeen) -> StepStatus:
    return look.recording(state=StepState.RUNNING, reason="Running", message="", image=pod.image).record


def _unbegun(look: Look, found: Underway, pod: PodSeen) -> Moved:
    """An ungated pod that has not begun: said why, and given up when its time to begin has passed."""
    if look.seen.now < pod.not_after:
        record = look.recording(reason=NOT_STARTED, message=found.stuck).record if found.stuck else look.record
        return Moved(record, wake_at=pod.not_after)
    if pod.deleting:
        return Moved(look.record, wake_at=look.seen.now + PATIENCE)
    lost = _lost_file(look)
    record = look.recording(reason=NOT_STARTED, message=lost).record if lost else look.record
    return Moved(record, actions=end_of(pod), wake_at=look.seen.now + PATIENCE)


def _lost_file(look: Look) -> str:
    """Which file a pod waited for in vain, of which its kubelet says nothing in its status; empty if none."""
    try:
        return look.lost_file(look.attempt())
    except Problem as problem:
        return str(problem)


def _closing(look: Look, pod: PodSeen) -> Moved:
    """An attempt with an outcome whose process has not ended; what follows must wait for that."""
    result = look.seen.results[pod.uid]
    if look.seen.now < result.at + GRACE:
        return Moved(look.record, wake_at=result.at + GRACE)
    return Moved(look.record, actions=stop(pod), wake_at=look.seen.now + PATIENCE)


def _after(look: Look, ended: Ended, following: Next) -> Moved:
    """What follows from an attempt that has an outcome."""
    image = look.pod.image if look.pod else look.record.image
    look = look.recording(image=image, effect_state=_effect_state(look, ended.outcome))
    match following:
        case Next.SUCCEED:
            return outputs.judged(look, ended.result.output if ended.result else None)
        case Next.FAIL:
            return Moved(look.failed(ended.reason, ended.message))
        case Next.RETRY:
            return again(look, ended)
        case Next.ASK:
            update = {"reason": ended.reason, "message": ended.message, "next_attempt_at": look.over_at}
            return Moved(look.recording(state=StepState.IN_DOUBT, **update).record)
        case unreachable:
            assert_never(unreachable)


def _effect_state(look: Look, outcome: Outcome) -> EffectState:
    """What is known of the effect after an attempt: what one attempt may have done, no later one takes back."""
    return look.effect(EffectState.MAY_BE_DONE) if outcome in _MAY_HAVE_DONE else look.record.effect_state


def again(look: Look, ended: Ended) -> Moved:
    """A step that waits for its next attempt, if there may be one more; one that was never ungated counts for none."""
    attempts, number = look.tool.retry.attempts, look.record.attempt
    if look.pod and look.pod.gated:
        return _waiting(look.recording(attempt=number - 1), ended, look.seen.now)
    if number >= attempts:
        return Moved(look.failed("RetriesExhausted", f"attempt {number} of {attempts}: {ended.message}"))
    return _waiting(look, ended, _due(look, ended))


def _waiting(look: Look, ended: Ended, due: datetime) -> Moved:
    update = {"reason": ended.reason, "message": ended.message, "next_attempt_at": due}
    return Moved(look.recording(state=StepState.WAITING, **update).record, wake_at=due)


def _due(look: Look, ended: Ended) -> datetime:
    """When the next attempt may begin: after its back-off, and beside none that must not be repeated and may go on."""
    asked = ended.result.retry_after if ended.result else None
    due = look.seen.now + backoff(look.tool.retry, look.record.attempt, look.seen.jitter, asked)
    alone = ended.result is not None and look.tool.effect is Effect.NON_IDEMPOTENT
    return max(due, look.over_at or due) if alone else due
