"""Patches: each for one object, and each refused where that is no longer as it was."""

import pytest
from agentruns.core.model import Condition
from agentruns.core.patches import Patch, approval_settled, conditions_stated, end_now, finalizer_off, gate_off

from tests.unit.builders import NOW

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


@pytest.mark.parametrize(
    ("before", "operations"),
    [
        ([], [("add", "/status/conditions", ["Stalled", "Reconciling"])]),
        (
            ["Finished", "Stalled"],
            [("replace", "/status/conditions/1", "Stalled"), ("add", "/status/conditions/-", "Reconciling")],
        ),
    ],
)
def test_of_a_status_that_cannot_be_read_only_conditions_are_touched(
    before: list[str], operations: list[tuple[str, str, object]]
) -> None:
    def of(*types: str) -> tuple[Condition, ...]:
        return tuple(Condition(type=it, status="True", reason="A", last_transition_time=NOW) for it in types)

    def told(patch: Patch) -> list[tuple[str, str, object]]:
        return [(it["op"], it["path"], types(it["value"])) for it in patch]

    def types(value: object) -> object:
        return [it["type"] for it in value] if isinstance(value, list) else value["type"]  # type: ignore[index]

    test, *rest = conditions_stated(of(*before), of("Stalled", "Reconciling"), "7")
    assert test == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    assert told(rest) == operations


def test_the_status_of_an_approval_is_set_in_the_version_that_was_looked_at() -> None:
    assert approval_settled({"state": "Approved"}, "7") == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/status", "value": {"state": "Approved"}},
    ]
