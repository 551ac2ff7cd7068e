"""Starting an attempt: its pod is made behind a gate, then recorded, then ungated. Only a recorded UID may start."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from agentruns.core.actions import Create, DeletePod, Ungate
from agentruns.core.attempts import START_WINDOW
from agentruns.core.inputs import Attempt
from agentruns.core.look import Look, Moved
from agentruns.core.naming import revision_label
from agentruns.core.network import policies_for
from agentruns.core.observed import POD_LIMIT_REACHED, PodSeen, Refusal
from agentruns.core.pods import attempt_pod_name, sandbox_pod
from agentruns.core.records import EffectState, StepState, StepStatus

RETRY_REFUSED: Final = timedelta(seconds=10)
_MEND: Final = ". Change what is refused of the Tool (resources, runtimeClassName, egress, env), or what refuses it"


def started(look: Look, attempt: Attempt) -> Moved:
    """The attempt's pod recorded and to be ungated, or what must be created before it can be."""
    if look.record.input_digest not in ("", attempt.input_digest):
        return Moved(look.failed("StateLost", "its arguments are not those of the attempts before"))
    missing = tuple(
        Create(policy)
        for policy in policies_for(look.run.metadata.namespace, look.tool, look.pinned.revision)
        if policy["metadata"]["name"] not in look.seen.policies
    )
    name = attempt_pod_name(look.run, attempt)
    for refused in (*(it.manifest["metadata"]["name"] for it in missing), name):
        if refusal := look.seen.refusals.get(refused):
            return _refused(look, refusal)
    if missing:
        return Moved(look.record, preparations=missing)
    pod = next((pod for pod in look.seen.pods.values() if pod.name == name), None)
    if pod is None:
        if lost := look.lost_file(attempt):  # a pod would wait for it, or refuse it
            return Moved(look.failed("StateLost", lost))
        manifest = sandbox_pod(look.run, attempt, look.seen.now + START_WINDOW, look.seen.sandbox)
        return Moved(look.record, preparations=(Create(manifest),))
    if not _fits(pod, look, attempt):
        return _cleared(look, attempt, pod)
    return Moved(_prepared(look, attempt, pod), actions=(Ungate(pod.name, pod.uid),))


def _prepared(look: Look, attempt: Attempt, pod: PodSeen) -> StepStatus:
    update = {
        "state": StepState.PREPARED,
        "reason": "Prepared",
        "message": "",
        "attempt": attempt.number,
        "idempotency_key": attempt.idempotency_key,
        "input_digest": attempt.input_digest,
        "pod": pod.name,
        "pod_uid": pod.uid,
        "image": "",
        "started_at": look.record.started_at or look.seen.now,
        "next_attempt_at": None,
    }
    return look.record.model_copy(update=update)


def _fits(pod: PodSeen, look: Look, attempt: Attempt) -> bool:
    """Whether a pod that nobody recorded yet is the one this attempt would make now."""
    return (
        pod.gated
        and not pod.deleting
        and pod.uid != look.record.pod_uid
        and pod.owner_uid == look.run.metadata.uid
        and pod.input_digest == attempt.input_digest
        and pod.revision == revision_label(attempt.revision)
        and (pod.epoch, pod.attempt) == (attempt.epoch, attempt.number)
        and pod.not_after > look.seen.now + START_WINDOW / 2
    )


def _cleared(look: Look, attempt: Attempt, pod: PodSeen) -> Moved:
    """A pod in the way: one that is still gated cannot have done anything and goes; any other is a person's matter."""
    if pod.deleting and not pod.node:
        return _never_to_begin(look, pod)
    if pod.gated:
        return Moved(look.record, preparations=(DeletePod(pod.name, pod.uid, pod.resource_version),))
    message = f"pod {pod.name} was started by somebody else; what it did is not known"
    perhaps = look.effect(EffectState.MAY_BE_DONE)
    doubt = {"state": StepState.IN_DOUBT, "effect_state": perhaps, "reason": "ForeignPod"}
    held = {"attempt": attempt.number, "pod": pod.name, "pod_uid": pod.uid, "approval": ""}
    doubted = look.recording(**doubt, **held, message=message)
    return Moved(doubted.recording(next_attempt_at=doubted.over_at).record)


def _never_to_begin(look: Look, pod: PodSeen) -> Moved:
    """A pod deleted behind its gate: recorded before it is released, since another operator may have recorded it."""
    record = look.record
    if pod.gated and record.pod_uid != pod.uid:
        said = f"pod {pod.name} was deleted before it could begin"
        over = {"pod": pod.name, "pod_uid": pod.uid, "next_attempt_at": look.seen.now}
        record = look.recording(state=StepState.WAITING, reason="NeverStarted", message=said, **over).record
    return Moved(record, wake_at=look.seen.now + timedelta(seconds=1))


def _refused(look: Look, refusal: Refusal) -> Moved:
    """A no to a pod: a quota and room are waited for, the latter without looking; else it is the author's to mend."""
    if not refusal.for_now:
        return Moved(look.failed("InvalidSpec", f"the API server refused the sandbox: {refusal.message}{_MEND}"))
    again = None if refusal.reason == POD_LIMIT_REACHED else look.seen.now + RETRY_REFUSED
    waiting = look.recording(
        state=StepState.WAITING,
        reason=refusal.reason,
        message=refusal.message,
        next_attempt_at=again,
    )
    return Moved(waiting.record, wake_at=again)


def waited(look: Look) -> Moved:
    """A step between two attempts, until its time has come."""
    due = look.record.next_attempt_at
    if due is not None and look.seen.now < due:
        return Moved(look.record, wake_at=due)
    following = look.recording(attempt=look.record.attempt + 1)
    moved = started(following, following.attempt())
    if moved.record.state is StepState.WAITING:  # it has not begun, so it does not count
        return replace(moved, record=moved.record.model_copy(update={"attempt": look.record.attempt}))
    return moved
