"""One attempt: what the API server stores of its pod, what that means, and what follows from it."""

from datetime import timedelta
from typing import Any

import pytest
from agentruns.core.attempts import Ended, Next, Outcome, Underway, backoff, examined, follows
from agentruns.core.kubelet import pod_seen
from agentruns.core.observed import NoResult, PodIsGone, PodSeen, ResultOf, ToolResult, Unanswered
from agentruns.core.resources import Effect, Retry, StepStatus
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import NOW, RUN_UID, a_pod, a_result, an_end, later, seen

RECORD = StepStatus.model_validate({"name": "lookup", "state": "Prepared", "pod": "pod", "podUID": "pod-1"})
SILENT = NoResult(complete=True)
ID = "containerd://1"
STARTED = "2026-01-02T11:59:59Z"

DONE = {
    "exitCode": 0,
    "reason": "Completed",
    "startedAt": STARTED,
    "finishedAt": "2026-01-02T12:00:00Z",
    "containerID": ID,
}
LOST = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
LOST_AFTER_START = LOST | {"startedAt": STARTED, "containerID": ID}
LOST_BEFORE = {"lastState": {"terminated": LOST}}
RUNNING = {"state": {"running": {"startedAt": STARTED}}, "containerID": ID}
CREATING = {"state": {"waiting": {"reason": "ContainerCreating"}}}
PULLING = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
DISRUPTED: dict[str, Any] = {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}
UNSCHEDULABLE: dict[str, Any] = {
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: too little cpu"}
    ]
}


def ended(**state: Any) -> dict[str, Any]:
    """A container's status after its end."""
    return {"state": {"terminated": DONE | state}, "containerID": ID}


def stored(container: dict[str, Any] | None = None, *, node: str = "node-1", **fields: Any) -> PodSeen:
    """A pod as the API server stores it, read in our terms; `spec` and `metadata` add to what every pod has."""
    metadata = {"name": "pod", "uid": "pod-1", "resourceVersion": "7", **fields.pop("metadata", {})}
    status: dict[str, Any] = {"phase": "Running", **fields}
    if container is not None:
        status["containerStatuses"] = [{"name": "sidecar", "state": {}}, {"name": "tool", **container}]
    return pod_seen({"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": status})


def deleting(container: dict[str, Any] | None = None, **fields: Any) -> PodSeen:
    """The same after somebody deleted it, held by its finalizer."""
    return stored(container, metadata={"deletionTimestamp": STARTED, "finalizers": ["agentrun.dev/result"]}, **fields)


def verdict(pod: PodSeen, *, said: ToolResult | NoResult = SILENT) -> tuple[Outcome | None, str]:
    """The outcome and reason of an attempt with this pod; no outcome while it is under way."""
    found = examined(RECORD, seen(pods={pod.uid: pod}, answers={ResultOf(pod.name, pod.uid): said}))
    match found:
        case Ended():
            assert found.closed
            return found.outcome, found.reason
        case Underway():
            return None, found.stuck


# ----------------------------------------------------------------------------------- effect and outcome

TABLE = {
    Outcome.SUCCEEDED: (Next.SUCCEED, Next.SUCCEED, Next.SUCCEED),
    Outcome.TRANSIENT: (Next.RETRY, Next.RETRY, Next.RETRY),
    Outcome.PERMANENT: (Next.FAIL, Next.FAIL, Next.FAIL),
    Outcome.INVALID_RESULT: (Next.FAIL, Next.FAIL, Next.FAIL),
    Outcome.UNKNOWN: (Next.RETRY, Next.RETRY, Next.ASK),
    Outcome.NEVER_STARTED: (Next.RETRY, Next.RETRY, Next.RETRY),
}


@pytest.mark.parametrize("outcome", Outcome)
def test_what_follows_is_the_published_table(outcome: Outcome) -> None:
    effects = (Effect.READ_ONLY, Effect.IDEMPOTENT, Effect.NON_IDEMPOTENT)
    assert tuple(follows(effect, outcome) for effect in effects) == TABLE[outcome]


# ------------------------------------------------------------------------------------ what a pod means


@pytest.mark.parametrize(
    ("pod", "outcome", "reason"),
    [
        (stored(ended()), Outcome.INVALID_RESULT, "InvalidResult"),
        (stored(ended(exitCode=75)), Outcome.TRANSIENT, "Transient"),
        (stored(ended(exitCode=65)), Outcome.PERMANENT, "Permanent"),
        (stored(ended(exitCode=3)), Outcome.UNKNOWN, "Unknown"),
        (stored(ended(exitCode=137)), Outcome.UNKNOWN, "Unknown"),
        (stored(ended(exitCode=137, reason="OOMKilled")), Outcome.UNKNOWN, "OOMKilled"),
        (stored(ended(exitCode=75, reason="OOMKilled")), Outcome.UNKNOWN, "OOMKilled"),
        (stored(ended(exitCode=137), phase="Failed", reason="Evicted", **DISRUPTED), Outcome.UNKNOWN, "Evicted"),
        (stored(ended(exitCode=143), phase="Failed", reason="DeadlineExceeded"), Outcome.UNKNOWN, "DeadlineExceeded"),
        # the kubelet lost sight of it, or ran it twice
        (stored(ended() | {"restartCount": 1}), Outcome.UNKNOWN, "ContainerLost"),
        (stored({"state": {"terminated": LOST_AFTER_START}}, phase="Failed"), Outcome.UNKNOWN, "ContainerLost"),
        (stored({"state": {"terminated": LOST}}, phase="Failed"), Outcome.UNKNOWN, "ContainerLost"),
        (deleting({"state": {"terminated": LOST}, "containerID": ID}), Outcome.UNKNOWN, "ContainerLost"),
        (deleting({"state": {"terminated": LOST}, "restartCount": 1}), Outcome.UNKNOWN, "ContainerLost"),
        (
            deleting({"state": {"terminated": LOST}} | LOST_BEFORE),
            Outcome.UNKNOWN,
            "ContainerLost",
        ),
        (deleting({"state": {"terminated": LOST}}, **DISRUPTED), Outcome.UNKNOWN, "ContainerLost"),
        # its node went, and the pod was collected: the last news is not the last that happened
        (deleting(CREATING, phase="Failed", **DISRUPTED), Outcome.UNKNOWN, "ContainerLost"),
        (deleting(RUNNING, phase="Failed", **DISRUPTED), Outcome.UNKNOWN, "ContainerLost"),
        # never started, and closed
        (deleting(node="", phase="Pending"), Outcome.NEVER_STARTED, "NeverStarted"),
        (stored(phase="Failed", reason="OutOfcpu"), Outcome.NEVER_STARTED, "NeverStarted"),
        (stored(CREATING, phase="Failed", reason="Evicted"), Outcome.NEVER_STARTED, "NeverStarted"),
        (deleting({"state": {"terminated": LOST}}), Outcome.NEVER_STARTED, "NeverStarted"),
        (
            stored({"state": {"terminated": LOST}}, phase="Failed", reason="DeadlineExceeded"),
            Outcome.NEVER_STARTED,
            "NeverStarted",
        ),
        # under way
        (stored(RUNNING), None, ""),
        (deleting(RUNNING), None, ""),
        (stored(CREATING, phase="Pending"), None, ""),
        (stored(PULLING, phase="Pending"), None, "ImagePullBackOff: no such image"),
        (deleting(PULLING, phase="Pending"), None, "ImagePullBackOff: no such image"),
        (stored(CREATING | {"restartCount": 1, "lastState": {"terminated": LOST}}), None, ""),
        (stored(RUNNING | {"restartCount": 1}), None, ""),
        (stored(node="", phase="Pending"), None, ""),
        (stored(node="", phase="Pending", **UNSCHEDULABLE), None, "Unschedulable: 0/3 nodes: too little cpu"),
    ],
)
def test_what_the_api_server_stores_of_a_pod_has_one_meaning(
    pod: PodSeen, outcome: Outcome | None, reason: str
) -> None:
    assert verdict(pod) == (outcome, reason)


def test_a_pod_is_asked_for_its_result_only_after_its_end() -> None:
    pod = stored(ended())
    with pytest.raises(Unanswered) as asked:
        examined(RECORD, seen(pods={pod.uid: pod}))
    assert asked.value.question == ResultOf("pod", "pod-1")


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        (a_result({"n": 1}), Outcome.SUCCEEDED, "Completed"),
        (a_result(error_class="Transient", message="429"), Outcome.TRANSIENT, "Transient"),
        (a_result(error_class="Permanent"), Outcome.PERMANENT, "Permanent"),
        (a_result(error_class="Unknown"), Outcome.UNKNOWN, "Unknown"),
        (a_result(invalid="no JSON"), Outcome.INVALID_RESULT, "InvalidResult"),
        (NoResult(True, invalid="no JSON"), Outcome.INVALID_RESULT, "InvalidResult"),
        (NoResult(True, promised="sha256:ab"), Outcome.UNKNOWN, "ResultLost"),
        (NoResult(False), Outcome.UNKNOWN, "ResultLost"),
        (NoResult(True), Outcome.INVALID_RESULT, "InvalidResult"),
    ],
)
def test_a_finished_pod_is_what_it_said(said: ToolResult | NoResult, outcome: Outcome, reason: str) -> None:
    assert verdict(stored(ended()), said=said) == (outcome, reason)


def test_a_result_outweighs_how_the_pod_ended() -> None:
    said = a_result({"n": 1})
    for pod in (stored(ended(exitCode=3)), stored(ended() | {"restartCount": 1}), stored(ended(reason="OOMKilled"))):
        assert verdict(pod, said=said) == (Outcome.SUCCEEDED, "Completed")


# ------------------------------------------------------------------------- results read while it runs


@pytest.mark.parametrize(
    ("pod", "closed"),
    [
        (a_pod(), False),
        (a_pod(deleting=True), False),
        (a_pod(end=an_end()), True),
        (a_pod(end=an_end(137, known=False)), True),
        (a_pod(phase="Failed", disrupted=True), True),
    ],
)
def test_a_result_is_the_commit_point_and_the_end_of_its_pod_closes_it(pod: PodSeen, closed: bool) -> None:
    said = a_result({"n": 1})
    found = examined(RECORD, seen(pods={pod.uid: pod}, results={pod.uid: said}))
    assert found == Ended(Outcome.SUCCEEDED, closed, "Completed", "", said)


def test_a_result_outlives_its_pod() -> None:
    said = a_result(error_class="Permanent", message="404")
    assert examined(RECORD, seen(results={"pod-1": said})) == Ended(Outcome.PERMANENT, True, "Permanent", "404", said)


def test_absence_is_believed_only_from_a_fresh_read() -> None:
    with pytest.raises(Unanswered) as asked:
        examined(RECORD, seen())
    gone = PodIsGone("pod", "pod-1")
    assert asked.value.question == gone
    assert examined(RECORD, seen(answers={gone: False})) == Underway(begun=False)
    lost = examined(RECORD, seen(answers={gone: True}))
    assert lost == Ended(Outcome.UNKNOWN, True, "PodLost", "pod pod is gone, and with it what it did")


def test_why_a_pod_did_not_start_is_remembered_when_the_kubelet_has_forgotten_it() -> None:
    record = RECORD.model_copy(update={"reason": "NotStarted", "message": "ImagePullBackOff: no such image"})
    pod = stored({"state": {"terminated": LOST}}, phase="Failed", reason="DeadlineExceeded", message="too long")
    found = examined(record, seen(pods={pod.uid: pod}))
    assert found == Ended(Outcome.NEVER_STARTED, True, "NeverStarted", "ImagePullBackOff: no such image")
    assert examined(RECORD, seen(pods={pod.uid: pod})) == Ended(
        Outcome.NEVER_STARTED, True, "NeverStarted", "DeadlineExceeded: too long"
    )


def test_a_pod_that_was_deleted_before_a_node_took_it_says_so() -> None:
    pod = a_pod(node="", deleting=True, gated=True, phase="Pending", started_at=None, reason="Gated")
    found = examined(RECORD, seen(pods={pod.uid: pod}))
    assert found == Ended(Outcome.NEVER_STARTED, True, "NeverStarted", "its pod was removed unstarted")


# ------------------------------------------------------------------------------------ reading a pod


def test_everything_that_decisions_read_is_read() -> None:
    body = {
        "metadata": {
            "name": "p",
            "uid": "u",
            "resourceVersion": "9",
            "labels": {"agentrun.dev/step": "lookup", "agentrun.dev/attempt": "2"},
            "annotations": {
                "agentrun.dev/input-digest": "sha256:ab",
                "agentrun.dev/not-after": "2026-01-02T12:05:00Z",
            },
            "finalizers": ["other/one", "agentrun.dev/result"],
            "ownerReferences": [
                {"kind": "Other", "name": "o", "uid": "x"},
                {"kind": "AgentRun", "name": "run", "uid": RUN_UID, "controller": True},
            ],
        },
        "spec": {"nodeName": "node-1", "schedulingGates": [{"name": "agentrun.dev/recorded"}]},
        "status": {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "too little memory",
            "containerStatuses": [
                {"name": "tool", "imageID": "i@sha256:1", "image": "i", **ended(exitCode=3, message="said")}
            ],
            **DISRUPTED,
        },
    }
    assert pod_seen(body) == a_pod(
        name="p",
        uid="u",
        resource_version="9",
        attempt=2,
        input_digest="sha256:ab",
        owner_name="run",
        finalizers=("other/one", "agentrun.dev/result"),
        gated=True,
        phase="Failed",
        reason="Evicted",
        message="too little memory",
        image="i@sha256:1",
        end=an_end(3, reason="Completed", message="said"),
        disrupted=True,
    )


def test_what_a_pod_lacks_or_misspells_reads_as_absent() -> None:
    odd = {"agentrun.dev/attempt": "second"}
    body = {
        "metadata": {
            "name": "p",
            "uid": "u",
            "resourceVersion": "1",
            "labels": odd,
            "annotations": {"agentrun.dev/not-after": "tomorrow"},
        }
    }
    pod = pod_seen(body)
    assert (pod.attempt, pod.step, pod.owner_uid, pod.owner_name, pod.node, pod.image) == (0, "", "", "", "", "")
    assert pod.not_after < NOW
    assert not (pod.begun or pod.held or pod.gated or pod.deleting)


def test_an_image_without_an_id_is_known_by_its_name() -> None:
    assert stored({"image": "i:1", "state": {}}).image == "i:1"
    assert stored({"image": "i:1", "imageID": "", "state": {}}).image == "i:1"


@pytest.mark.parametrize(
    ("pod", "begun"),
    [
        (stored(RUNNING), True),
        (stored(ended()), True),
        (stored(CREATING), False),
        (stored(CREATING | {"restartCount": 1}), True),
        (stored({"state": {"terminated": LOST}}), False),
        (stored({"state": {"terminated": LOST}, "containerID": ID}), True),
    ],
)
def test_a_pod_has_begun_once_its_kubelet_has_created_a_container(pod: PodSeen, begun: bool) -> None:
    assert pod.begun is begun


def test_only_our_finalizer_holds_a_pod() -> None:
    assert a_pod().held
    assert not a_pod(finalizers=("other/one",)).held


# ------------------------------------------------------------------------------------------- back-off

retries = st.builds(
    lambda attempts, first, longest: Retry(
        attempts=attempts, initial_backoff=timedelta(seconds=first), max_backoff=timedelta(seconds=longest)
    ),
    st.integers(1, 20),
    st.integers(1, 31_536_000),
    st.integers(1, 31_536_000),
)


@given(retries, st.integers(1, 20), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_longer_than_the_tool_allows(retry: Retry, attempt: int, jitter: float) -> None:
    wait = backoff(retry, attempt, jitter, None)
    assert timedelta(0) <= wait <= retry.max_backoff
    assert wait <= retry.initial_backoff * 2 ** (attempt - 1)


@given(retries, st.integers(1, 20), st.floats(0, 1, exclude_max=True), st.floats(0, 86_400))
def test_a_wait_is_at_least_what_the_tool_asked_for(
    retry: Retry, attempt: int, jitter: float, retry_after: float
) -> None:
    wait = backoff(retry, attempt, jitter, retry_after)
    assert wait == max(backoff(retry, attempt, jitter, None), timedelta(seconds=retry_after))


def test_waits_double_up_to_the_longest() -> None:
    waits = [backoff(Retry(), attempt, 0.999_999, None).total_seconds() for attempt in range(1, 10)]
    assert [round(wait) for wait in waits] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff(Retry(), 3, 0.0, None) == timedelta(0)
    assert later(0) == NOW
