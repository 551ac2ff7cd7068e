"""One attempt: what its pod says about it, when it is closed, and what its outcome means for the next one."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, assert_never

from agentruns.core.actions import StopPod
from agentruns.core.observed import NoResult, Observed, PodSeen, ToolResult
from agentruns.core.problems import printable
from agentruns.core.questions import PodIsGone, ResultOf
from agentruns.core.records import StepStatus
from agentruns.core.resources import Effect, Retry

GRACE: Final = timedelta(seconds=5)
"""What a pod gets to end by itself, after its result or after being told to stop; its grace period, too."""
OVERTIME: Final = timedelta(seconds=60)
"""How long after its timeout the kubelet ends a pod by itself, should nobody have stopped it."""
PATIENCE: Final = timedelta(seconds=30)
"""How long to wait for a pod to follow an order before giving it again."""
START_WINDOW: Final = timedelta(minutes=5)
"""How long after it was prepared a pod may begin; its entry point refuses later."""
NOT_STARTED: Final = "NotStarted"
"""The reason of a step whose pod has not begun yet; its message says why, as long as anybody knows."""


class Outcome(StrEnum):
    """What became of an attempt: the classes that a tool may say, and two that none says (docs/outcomes.md)."""

    SUCCEEDED = "Succeeded"
    TRANSIENT = "Transient"
    PERMANENT = "Permanent"
    INVALID_RESULT = "InvalidResult"
    UNKNOWN = "Unknown"
    NEVER_STARTED = "NeverStarted"


class Next(StrEnum):
    """What follows from an outcome."""

    SUCCEED = "Succeed"
    RETRY = "Retry"
    FAIL = "Fail"
    ASK = "Ask"


@dataclass(frozen=True)
class Ended:
    """An attempt with an outcome. `closed`: its container has ended, never began, or nobody will ever say which."""

    outcome: Outcome
    closed: bool
    reason: str = ""
    message: str = ""
    result: ToolResult | None = None


@dataclass(frozen=True)
class Underway:
    """An attempt without an outcome yet. `stuck` says why it has not begun, as the cluster puts it."""

    stuck: str = ""


def follows(effect: Effect, outcome: Outcome) -> Next:
    """The table of effect and outcome; repetition is decided here and nowhere else."""
    match outcome:
        case Outcome.SUCCEEDED:
            return Next.SUCCEED
        case Outcome.TRANSIENT | Outcome.NEVER_STARTED:
            return Next.RETRY
        case Outcome.PERMANENT | Outcome.INVALID_RESULT:
            return Next.FAIL
        case Outcome.UNKNOWN:
            return Next.ASK if effect is Effect.NON_IDEMPOTENT else Next.RETRY
        case unreachable:
            assert_never(unreachable)


def backoff(retry: Retry, attempt: int, jitter: float, retry_after: float | None) -> timedelta:
    """The wait after a failed attempt: exponential, capped, full jitter in [0, 1); at least what the tool asked for."""
    ceiling: timedelta = min(retry.max_backoff, retry.initial_backoff * 2 ** min(attempt - 1, 20))
    return max(ceiling * jitter, timedelta(seconds=retry_after or 0))


def examined(step: StepStatus, seen: Observed) -> Ended | Underway:
    """What is known of a step's recorded attempt. Its result is the commit point, whatever its process still does."""
    pod = seen.pods.get(step.pod_uid)
    if pod is None:
        return _unseen(step, seen)
    if result := seen.results.get(pod.uid):
        return _said(result, closed=not pod.active)
    if _never_began(pod):
        why = step.message if step.reason == NOT_STARTED else _why_not(pod)
        return Ended(Outcome.NEVER_STARTED, True, "NeverStarted", why or "its pod was removed unstarted")
    if not pod.active:
        return _finished(pod, seen)
    return Underway(_why_not(pod))


def _unseen(step: StepStatus, seen: Observed) -> Ended | Underway:
    """What is known of an attempt whose pod is not seen: its result, and if a fresh read says so, that it is gone."""
    result = seen.results.get(step.pod_uid)
    said = _said(result, closed=True) if result else None
    if said and said.outcome is Outcome.SUCCEEDED:
        return said
    if not seen.answer(PodIsGone(step.pod, step.pod_uid)):
        return Underway()
    return said or Ended(Outcome.UNKNOWN, True, "PodLost", f"pod {step.pod} is gone, and with it what it did")


def may_run(pod: PodSeen) -> bool:
    """Whether a pod may do something yet: it has neither ended, nor is it being deleted without ever being bound."""
    return pod.active and (bool(pod.node) or not pod.deleting)


def stop(pod: PodSeen) -> tuple[StopPod, ...]:
    """The end of what runs: asked for once, since a kubelet that is not heard of for hours need not be told again."""
    return () if pod.stopping else (StopPod(pod.name, pod.uid),)


def _never_began(pod: PodSeen) -> bool:
    """True only where that is certain: never bound and never to be, or told to end, and its kubelet found no container.

    Of a pod that its kubelet refuses or evicts it is not: a kubelet that starts anew judges what it has run as if it
    came only now, and takes back what it had reported; one that evicts a pod removes the container at once.
    """
    if not pod.node:
        return pod.deleting
    if pod.begun or pod.disrupted or pod.end is None:
        return False
    told = pod.reason == "DeadlineExceeded" or (pod.deleting and not pod.reason)
    return told and not pod.end.known  # the kubelet then reports a container that it cannot locate


def _finished(pod: PodSeen, seen: Observed) -> Ended:
    """The outcome of a pod whose container has ended and whose result was not seen while it ran."""
    answer = seen.answer(ResultOf(pod.uid))
    if isinstance(answer, ToolResult):
        return _said(answer, closed=True)
    assert isinstance(answer, NoResult)
    return _silent(pod, answer)


def _silent(pod: PodSeen, answer: NoResult) -> Ended:
    """The outcome of a container that ended without a result."""
    end = pod.end
    if end is None or not end.known:
        return Ended(Outcome.UNKNOWN, True, "ContainerLost", _lost(pod))
    if answer.invalid:
        return Ended(Outcome.INVALID_RESULT, True, "InvalidResult", answer.invalid)
    if end.reason == "OOMKilled":
        said = "out of memory: the limit is resources.limits.memory of the Tool"
        return Ended(Outcome.UNKNOWN, True, end.reason, said)
    if pod.reason in ("Evicted", "DeadlineExceeded", "NodeLost"):
        return Ended(Outcome.UNKNOWN, True, pod.reason, f"it was ended from outside: {pod.reason}")
    if end.exit_code == 75:
        return Ended(Outcome.TRANSIENT, True, "Transient", "exit code 75: nothing was done, try again")
    if end.exit_code == 65:
        return Ended(Outcome.PERMANENT, True, "Permanent", "exit code 65: nothing was done, and never will be")
    if end.exit_code != 0:
        said = f" ({end.reason}: {printable(end.message)})" if end.reason not in ("", "Error") else ""
        return Ended(Outcome.UNKNOWN, True, "Unknown", f"exit code {end.exit_code} and no result{said}")
    if not answer.complete or answer.promised:
        return Ended(Outcome.UNKNOWN, True, "ResultLost", "it ended well, but its result cannot be read any more")
    return Ended(Outcome.INVALID_RESULT, True, "InvalidResult", "it ended with exit code 0 and printed no result")


def _lost(pod: PodSeen) -> str:
    """What is said of a container of which nobody knows how it ended, or whether it began."""
    what = "lost sight of the container" if pod.end else "gave the pod up, and does not say whether it had run"
    why = f": {pod.reason}" if pod.reason else ""
    return f"its kubelet {what}{why}"


def _said(result: ToolResult, *, closed: bool) -> Ended:
    """The outcome a tool's own result line stands for."""
    if result.invalid:
        return Ended(Outcome.INVALID_RESULT, closed, "InvalidResult", result.invalid, result)
    if not result.error_class:
        return Ended(Outcome.SUCCEEDED, closed, "Completed", "", result)
    return Ended(Outcome(result.error_class), closed, result.error_class, result.message, result)


def _why_not(pod: PodSeen) -> str:
    """Why a pod does not begin, in the cluster's words; empty if it is merely on its way."""
    if pod.waiting_reason and pod.waiting_reason not in ("ContainerCreating", "PodInitializing"):
        return f"{pod.waiting_reason}: {pod.waiting_message}"
    return f"{pod.reason}: {pod.message}" if pod.reason and not pod.gated else ""
