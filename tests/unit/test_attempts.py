"""One attempt: what the API server stores of its pod, what that means, and what follows from it."""

from datetime import timedelta

import pytest
from agentruns.core.attempts import Ended, Next, Outcome, Underway, backoff, examined, follows
from agentruns.core.observed import NoResult, PodSeen, ToolResult
from agentruns.core.questions import PodIsGone, ResultOf, Unanswered
from agentruns.core.records import StepStatus
from agentruns.core.resources import Effect, Retry
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import NOW, a_pod, a_result, an_end, later, seen
from tests.unit.stored_pods import (
    CREATING,
    DISRUPTED,
    ID,
    LOST,
    LOST_AFTER_START,
    LOST_BEFORE,
    PULLING,
    RUNNING,
    UNSCHEDULABLE,
    deleting,
    ended,
    stored,
)

RECORD = StepStatus.model_validate({"name": "lookup", "state": "Prepared", "pod": "pod", "podUID": "pod-1"})
SILENT = NoResult(complete=True)


def verdict(pod: PodSeen, *, said: ToolResult | NoResult = SILENT) -> tuple[Outcome | None, str]:
    """The outcome and reason of an attempt with this pod; no outcome while it is under way."""
    found = examined(RECORD, seen(pods={pod.uid: pod}, answers={ResultOf(pod.uid): said}))
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
        # its kubelet refused it or evicted it, and looks the same whether it had run or not
        (stored(phase="Failed", reason="NodeAffinity"), Outcome.UNKNOWN, "ContainerLost"),
        (deleting(phase="Failed", reason="NodeAffinity"), Outcome.UNKNOWN, "ContainerLost"),
        (stored(CREATING, phase="Failed", reason="Evicted"), Outcome.UNKNOWN, "ContainerLost"),
        (stored({"state": {"terminated": LOST}}, phase="Failed", reason="Evicted"), Outcome.UNKNOWN, "ContainerLost"),
        (
            deleting({"state": {"terminated": LOST}}, phase="Failed", reason="OutOfcpu"),
            Outcome.UNKNOWN,
            "ContainerLost",
        ),
        # its node is out of service, and what was being deleted there was collected
        (deleting(CREATING, phase="Failed"), Outcome.UNKNOWN, "ContainerLost"),
        # never started, and closed
        (deleting(node="", phase="Pending"), Outcome.NEVER_STARTED, "NeverStarted"),
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
    assert asked.value.questions == (ResultOf("pod-1"),)


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
    gone = PodIsGone("pod", "pod-1")
    with pytest.raises(Unanswered):
        examined(RECORD, seen(results={"pod-1": said}))
    assert examined(RECORD, seen(results={"pod-1": said}, answers={gone: False})) == Underway()
    found = examined(RECORD, seen(results={"pod-1": said}, answers={gone: True}))
    assert found == Ended(Outcome.PERMANENT, True, "Permanent", "404", said)


def test_a_good_result_counts_wherever_its_pod_is() -> None:
    said = a_result({"n": 1})
    assert examined(RECORD, seen(results={"pod-1": said})) == Ended(Outcome.SUCCEEDED, True, "Completed", "", said)


def test_absence_is_believed_only_from_a_fresh_read() -> None:
    with pytest.raises(Unanswered) as asked:
        examined(RECORD, seen())
    gone = PodIsGone("pod", "pod-1")
    assert asked.value.questions == (gone,)
    assert examined(RECORD, seen(answers={gone: False})) == Underway()
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
