"""What this operator changes about an object, as JSON patches: each is for one UID, or version, and no other."""

from typing import Any, Final

from agentruns.core.model import Condition
from agentruns.core.naming import FINALIZER_RESULT, GATE_RECORDED

Patch = list[dict[str, Any]]
END_NOW: Final = 1
"""The `activeDeadlineSeconds` of a pod that is to end: there is no shorter one, and no tool has as short a one."""


def gate_off(uid: str) -> Patch:
    """Lets the pod be scheduled; refused for a second time."""
    return [
        _only(uid),
        {"op": "test", "path": "/spec/schedulingGates/0/name", "value": GATE_RECORDED},
        {"op": "remove", "path": "/spec/schedulingGates"},
    ]


def end_now(uid: str) -> Patch:
    """Has the kubelet end the pod by its deadline: unlike a deletion that leaves the pod and its log."""
    return [_only(uid), {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": END_NOW}]


def finalizer_off(uid: str, finalizers: tuple[str, ...]) -> Patch:
    """Releases a pod that has these finalizers, this operator's among them; refused if they have changed."""
    place = f"/metadata/finalizers/{finalizers.index(FINALIZER_RESULT)}"
    return [_only(uid), {"op": "test", "path": place, "value": FINALIZER_RESULT}, {"op": "remove", "path": place}]


def approval_settled(status: dict[str, str], version: str) -> Patch:
    """Sets the status of an Approval in this version, so that no decision slips in between."""
    return [_only_version(version), {"op": "add", "path": "/status", "value": status}]


def conditions_stated(before: tuple[Condition, ...], conditions: tuple[Condition, ...], version: str) -> Patch:
    """Sets conditions of a status in this version, of which nothing else is touched."""
    places = {it.type: place for place, it in enumerate(before)}
    test = [_only_version(version)]
    bodies = [(it.type, it.model_dump(mode="json", by_alias=True)) for it in conditions]
    if not before:
        return [*test, {"op": "add", "path": "/status/conditions", "value": [body for _, body in bodies]}]
    return test + [
        {"op": "replace", "path": f"/status/conditions/{places[kind]}", "value": body}
        if kind in places
        else {"op": "add", "path": "/status/conditions/-", "value": body}
        for kind, body in bodies
    ]


def _only(uid: str) -> dict[str, Any]:
    return {"op": "test", "path": "/metadata/uid", "value": uid}


def _only_version(version: str) -> dict[str, Any]:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": version}
