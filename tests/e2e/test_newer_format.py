"""A status of a later release, as after going back to this one: left alone, with a word about it, and nothing lost."""

from __future__ import annotations

from typing import Any

from tests.commands import kubectl
from tests.shop import Shop
from tests.space import ECHO, Space, step
from tests.waiting import until

STEP = {"name": "first", "state": "Asleep", "dream": {"of": "sheep"}}
LATER = {"formatVersion": 99, "diary": {"head": "sha256:0"}, "steps": [STEP], "message": "a later release was here"}


def stalled(run: dict[str, Any]) -> str:
    """The reason for which a run is stalled; empty if it is not."""
    found = condition(run)
    return str(found["reason"]) if found["status"] == "True" else ""


def condition(run: dict[str, Any]) -> dict[str, Any]:
    return next(it for it in run["status"]["conditions"] if it["type"] == "Stalled")


def test_a_status_of_a_later_release_is_left_alone_and_says_so(shop: Shop, space: Space) -> None:
    space.tool("echo", ECHO)
    space.start("later", step("first", "echo"), desiredState="Paused")
    until(lambda: space.status("later")["phase"] == "Paused", "it is paused")
    place = (space.name, "agentruns", "later")
    written = shop.accounts["operator"].patch((*place, "status"), {"status": LATER}, store=True)
    assert written.status == 200, written.message
    until(lambda: stalled(space.get("agentruns", "later")) == "NewerFormat", "it says that it is left alone", 30)
    until(lambda: "NewerFormat" in kubectl("events", "-n", space.name), "an Event tells it", 30)
    changed = space.admin.patch(place, {"spec": {"desiredState": "Running"}}, store=True)
    assert changed.status == 200, changed.message
    generation = changed.body["metadata"]["generation"]
    run = until(lambda: seen(space, generation), "its change was looked at", 30)
    assert {key: run["status"][key] for key in LATER} == LATER
    assert space.pods("later") == []


def seen(space: Space, generation: int) -> dict[str, Any] | None:
    """The run once its condition is about this generation."""
    run = space.get("agentruns", "later")
    return run if condition(run)["observedGeneration"] == generation else None
