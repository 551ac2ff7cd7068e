"""Patches of pods: each for one UID, and each refused where the pod is no longer as it was."""

from agentruns.core.patches import end_now, finalizer_off, gate_off

UID = {"op": "test", "path": "/metadata/uid", "value": "u"}


def test_a_gate_is_taken_off_the_recorded_pod_and_once() -> None:
    named = {"op": "test", "path": "/spec/schedulingGates/0/name", "value": "agentrun.dev/recorded"}
    assert gate_off("u") == [UID, named, {"op": "remove", "path": "/spec/schedulingGates"}]


def test_a_pod_is_ended_by_its_deadline() -> None:
    assert end_now("u") == [UID, {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1}]


def test_of_the_finalizers_only_our_own_goes() -> None:
    place = "/metadata/finalizers/1"
    named = {"op": "test", "path": place, "value": "agentrun.dev/result"}
    assert finalizer_off("u", ("other", "agentrun.dev/result")) == [UID, named, {"op": "remove", "path": place}]
