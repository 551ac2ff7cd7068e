"""Collecting: what is in use, was of late, or is young stays; the rest goes in two phases, and in no other version."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from agentruns.core.collecting import Delete, Mark, Shared, Unmark, collected, mark_of, shared, used_by, with_mark
from agentruns.core.naming import DENY_ALL_POLICY, egress_name
from agentruns.store import Store

from tests.unit.builders import NAMESPACE, NOW

DAY, HOUR, SECOND = timedelta(hours=24), timedelta(hours=1), timedelta(seconds=1)
LABEL = "agentrun.dev/unused-since"
USED = {(NAMESPACE, "refund-1")}


def body(name: str = "refund-1", version: int = 7, *, kind: str = "ControllerRevision", mark: str = "") -> Any:
    """A shared object as the API server sends it in a list, made a day ago."""
    labels = {"app.kubernetes.io/managed-by": "agentruns"} | ({LABEL: mark} if mark else {})
    made = {"creationTimestamp": (NOW - DAY).isoformat(), "resourceVersion": str(version), "labels": labels}
    return {"kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"uid-of-{name}"} | made}


def marked_since(moment: datetime) -> Shared:
    """A shared object that was marked then."""
    return shared(body(mark=mark_of(moment)))


def run(phase: str = "Running", **status: Any) -> Any:
    """A run that pinned a Tool."""
    return {"status": {"phase": phase, "tools": [{"name": "refund", "revision": "refund-1", "digest": "d"}]} | status}


def test_what_nobody_uses_is_marked_when_it_is_a_day_old() -> None:
    found = shared(body())
    assert collected([found], set(), NOW) == [Mark(found, NOW)]
    assert collected([found], set(), NOW - SECOND) == []


def test_what_is_in_use_is_never_marked_and_loses_its_mark() -> None:
    assert collected([shared(body())], USED, NOW + 100 * DAY) == []
    found = marked_since(NOW)
    assert collected([found], USED, NOW + 100 * DAY) == [Unmark(found)]


def test_use_in_one_namespace_is_none_in_another() -> None:
    found = shared(body())
    assert collected([found], {("elsewhere", "refund-1")}, NOW) == [Mark(found, NOW)]


def test_what_is_marked_is_deleted_an_hour_later() -> None:
    found = marked_since(NOW)
    assert collected([found], set(), NOW + HOUR - SECOND) == []
    assert collected([found], set(), NOW + HOUR) == [Delete(found)]


@pytest.mark.parametrize("mark", ["soon", "1" * 60, "-", "99999999999"])
def test_a_mark_that_cannot_be_read_has_nothing_deleted_and_can_be_taken_off(mark: str) -> None:
    found = shared(body(mark=mark))
    assert collected([found], set(), NOW + 100 * DAY) == []
    assert collected([found], USED, NOW) == [Unmark(found)]


def test_a_mark_is_read_as_it_was_written() -> None:
    assert marked_since(NOW).unused_since == NOW
    assert len(mark_of(datetime(9999, 1, 1, tzinfo=UTC))) <= 63


def test_the_rule_that_closes_all_sandboxes_stays() -> None:
    found = [shared(body(DENY_ALL_POLICY, kind="NetworkPolicy", mark=mark)) for mark in ("", mark_of(NOW))]
    assert collected(found, set(), NOW + 100 * DAY) == []


def test_unfinished_runs_use_what_they_pinned_and_its_network_rules() -> None:
    mine = {"refund-1", egress_name("refund-1")}
    assert used_by([run(), run("Paused"), run("AwaitingApproval"), run("Pending")]) == mine
    assert used_by([run("Succeeded"), run("Failed"), run("Cancelled")]) == set()
    assert used_by([{}, {"status": {}}, {"status": {"phase": "Pending"}}]) == set()


def test_what_a_run_of_a_newer_release_uses_is_not_known() -> None:
    assert used_by([run("Succeeded", formatVersion=1)]) == set()
    assert used_by([run("Succeeded", formatVersion=99)]) is None


def test_a_mark_changes_nothing_else_and_is_for_the_version_that_was_looked_at() -> None:
    plain = body(version=7)
    marked = with_mark(plain, "1", resourceVersion="6")
    assert marked["metadata"] | {"resourceVersion": "7"} == body(version=7, mark="1")["metadata"]
    assert (marked["metadata"]["resourceVersion"], marked.keys()) == ("6", plain.keys())
    assert with_mark(body(version=7, mark="1"), None) == plain


@pytest.mark.parametrize("kind", ["ControllerRevision", "NetworkPolicy"])
def test_who_needs_what_is_marked_finds_it_missing_and_so_takes_the_mark_off(kind: str) -> None:
    store = Store(lambda _: None, lambda _: None)
    for version, mark, names in ((1, "", {"refund-1"}), (2, "1", set()), (3, "", {"refund-1"})):
        store.take(kind, json.loads(json.dumps(body(version=version, kind=kind, mark=mark))))
        assert store.names(kind, NAMESPACE) == names
        assert [(it.kind, it.resource_version) for it in store.shared()] == [(kind, str(version))]
    store.forget("uid-of-refund-1")
    assert store.shared() == []
