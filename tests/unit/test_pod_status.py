"""What the API server stores of a pod, read in our terms."""

import pytest
from agentruns.core.observed import PodSeen
from agentruns.core.pod_status import pod_seen

from tests.unit.builders import NOW, RUN_UID, a_pod, an_end
from tests.unit.stored_pods import (
    CREATING,
    DISRUPTED,
    ID,
    LOST,
    RUNNING,
    ended,
    stored,
)


def test_everything_that_decisions_read_is_read() -> None:
    body = {
        "metadata": {
            "name": "p",
            "uid": "u",
            "resourceVersion": "9",
            "labels": {
                "agentrun.dev/step": "lookup",
                "agentrun.dev/attempt": "2",
                "agentrun.dev/tool-revision": "a1b2",
            },
            "annotations": {
                "agentrun.dev/input-digest": "sha256:ab",
                "agentrun.dev/not-after": "2026-01-02T12:05:00Z",
                "agentrun.dev/epoch": "3",
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
        epoch=3,
        revision="a1b2",
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


@pytest.mark.parametrize(
    ("attempt", "not_after"),
    [
        ("second", "tomorrow"),
        ("9" * 5000, "2050-01-01"),
        ("-1", "2050-01-01T00:00:00"),
        ("1.5", "9999-12-31T23:59:59-18:00"),
    ],
)
def test_what_a_pod_lacks_or_misspells_reads_as_absent(attempt: str, not_after: str) -> None:
    marks = {"agentrun.dev/not-after": not_after, "agentrun.dev/epoch": attempt}
    labels = {"agentrun.dev/attempt": attempt}
    pod = pod_seen(
        {"metadata": {"name": "p", "uid": "u", "resourceVersion": "1", "labels": labels, "annotations": marks}}
    )
    assert pod.epoch == 0
    assert (pod.attempt, pod.step, pod.owner_uid, pod.owner_name, pod.node, pod.image) == (0, "", "", "", "", "")
    assert pod.not_after < NOW
    assert not (pod.begun or pod.held or pod.gated or pod.deleting)


def test_an_image_without_an_id_is_known_by_its_name() -> None:
    assert stored({"image": "i:1", "state": {}}).image == "i:1"
    assert stored({"image": "i:1", "imageID": "", "state": {}}).image == "i:1"
    assert stored({"imageID": "i" * 1000 + "@sha256:1", "state": {}}).image == "i" * 503 + "@sha256:1"


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
