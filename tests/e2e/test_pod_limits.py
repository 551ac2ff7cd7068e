"""Limits on active pods: what is beyond them waits without a pod, and nobody is kept from a turn."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.commands import kubectl
from tests.shop import Shop, chart_changed
from tests.space import Space, opened_space, says, step, steps_of
from tests.waiting import until

NAP = "import time; time.sleep(4); print('null')"


def active(*, of_the_shop: bool, shop: Shop) -> list[str]:
    """The sandboxes that have not ended: of the shop, in which other tests make some that stay, or of all others."""
    found = json.loads(kubectl("get", "pods", "-A", "--selector=agentrun.dev/run-uid", "--output=json"))["items"]
    there = [it for it in found if it["status"].get("phase") not in ("Succeeded", "Failed")]
    return [it["metadata"]["name"] for it in there if (it["metadata"]["namespace"] == shop.namespace) is of_the_shop]


@pytest.fixture(scope="module", autouse=True)
def limited(shop: Shop) -> Iterator[None]:
    """There is room for two active sandbox pods; what other tests left running has ended before."""
    stay = active(of_the_shop=True, shop=shop)
    with chart_changed(shop, limits={"activePods": len(stay) + 2}):
        until(lambda: not active(of_the_shop=False, shop=shop), "no other sandbox is active")
        yield


@pytest.fixture
def hog_and_lone(shop: Shop) -> Iterator[tuple[Space, Space]]:
    """Two namespaces with the tools of these tests."""
    with opened_space(shop) as hog, opened_space(shop) as lone:
        for space in (hog, lone):
            space.tool("nap", NAP)
            space.tool("quick", says(1))
        yield hog, lone


def ended(space: Space, run: str) -> dict[str, str]:
    """How the pod of a run's only step has ended; empty if it has not."""
    [pod] = space.pods(run)
    return dict(pod["status"]["containerStatuses"][0]["state"].get("terminated") or {})


def test_a_namespace_with_many_runs_does_not_keep_another_from_its_turn(hog_and_lone: tuple[Space, Space]) -> None:
    hog, lone = hog_and_lone
    names = [f"r{n:02}" for n in range(12)]
    for name in names:
        hog.start(name, step("first", "nap"))
    until(lambda: len([it for it in names if hog.status(it).get("waiting") == "PodLimit/activePods"]) >= 8, "they wait")
    waiting = next(it for it in reversed(names) if hog.status(it).get("waiting"))
    record = steps_of(hog.status(waiting))["first"]
    assert (record["state"], record["reason"], record.get("attempt", 0)) == ("Waiting", "PodLimitReached", 0)
    assert hog.pods(waiting) == []
    version = hog.get("agentruns", waiting)["metadata"]["resourceVersion"]
    lone.start("single", step("first", "quick"))
    assert lone.ended("single")["phase"] == "Succeeded"
    unfinished = [it for it in names if hog.status(it)["phase"] == "Running"]
    assert len(unfinished) >= 6, "the single run had its turn long before the many had theirs"
    if waiting in unfinished and hog.pods(waiting) == []:
        assert hog.get("agentruns", waiting)["metadata"]["resourceVersion"] == version, "waiting writes nothing"
    spans = []
    for name in names:
        assert hog.ended(name)["phase"] == "Succeeded"
        until(lambda: ended(hog, name), "its pod has ended too")  # noqa: B023
        state = ended(hog, name)
        spans.append((state["startedAt"], state["finishedAt"]))
    assert max(sum(a <= begin < b for a, b in spans) for begin, _ in spans) <= 2, "never more than two at once"


def test_a_step_that_waits_for_room_can_be_cancelled(hog_and_lone: tuple[Space, Space]) -> None:
    hog, _ = hog_and_lone
    hog.start("busy", *(step(f"s{n}", "nap") for n in range(4)), order="Graph")
    hog.step_reached("busy", "s2", "Waiting")
    hog.start("late", step("first", "quick"))
    hog.step_reached("late", "first", "Waiting")
    hog.want("late", desiredState="Cancelled")
    assert hog.ended("late")["phase"] == "Cancelled"
    assert hog.pods("late") == []
    assert hog.ended("busy")["phase"] == "Succeeded"
