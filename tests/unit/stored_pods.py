"""Pods as the API server stores them, in every state a kubelet leaves them in."""

from typing import Any

from agentruns.core.observed import PodSeen
from agentruns.core.pod_status import pod_seen

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
