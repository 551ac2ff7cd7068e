"""What this operator changes about a sandbox pod, as JSON patches: each is for one UID and no other."""

from typing import Any

from agentruns.core.naming import FINALIZER_RESULT, GATE_RECORDED

Patch = list[dict[str, Any]]


def gate_off(uid: str) -> Patch:
    """Lets the pod be scheduled; refused for a second time."""
    return [
        _only(uid),
        {"op": "test", "path": "/spec/schedulingGates/0/name", "value": GATE_RECORDED},
        {"op": "remove", "path": "/spec/schedulingGates"},
    ]


def end_now(uid: str) -> Patch:
    """Has the kubelet end the pod by its deadline: unlike a deletion that leaves the pod and its log."""
    return [_only(uid), {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1}]


def finalizer_off(uid: str, finalizers: tuple[str, ...]) -> Patch:
    """Lets go of a pod that has these finalizers, this operator's among them; refused if they have changed."""
    place = f"/metadata/finalizers/{finalizers.index(FINALIZER_RESULT)}"
    return [_only(uid), {"op": "test", "path": place, "value": FINALIZER_RESULT}, {"op": "remove", "path": place}]


def _only(uid: str) -> dict[str, Any]:
    return {"op": "test", "path": "/metadata/uid", "value": uid}
