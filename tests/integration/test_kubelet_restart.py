"""The kubelet starts anew while tools are under way: what it still runs goes on, and what it refuses is in doubt.

For a local cluster, whose kubelet is a process of this machine, and which nobody else uses at the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import Body
from tests.cluster import node, processes
from tests.cluster.places import NODE
from tests.commands import kubectl
from tests.crashes.effects import Effects, counted
from tests.integration.operator_process import OperatorProcess
from tests.shop import Shop
from tests.space import Space, opened_space, step
from tests.waiting import until

EFFECTS = ("ReadOnly", "Idempotent", "NonIdempotent")
LABEL = "example.com/sandboxes"


@dataclass(frozen=True)
class Runs:
    """A run of each effect, whose tool has its effect at once and then goes on for so many seconds, the first time."""

    space: Space
    effects: Effects

    def begin(self, seconds: int) -> None:
        about = {"egress": self.effects.egress, "approval": "Never", "retry": {"attempts": 2, "initialBackoff": "1s"}}
        for effect in EFFECTS:
            name = effect.lower()
            self.space.tool(name, self.effects.program, effect=effect, **about)
            self.space.start(name, step("acts", name, args={"of": self._label(effect), "seconds": seconds}))

    def _label(self, effect: str) -> str:
        return f"{self.space.name}/{effect.lower()}"

    def times(self) -> dict[str, int]:
        """How often each has had its effect."""
        return {effect: len(self.effects.of(self._label(effect))) for effect in EFFECTS}

    def pods(self) -> dict[str, list[Body]]:
        return {effect: self.space.pods(effect.lower(), "acts") for effect in EFFECTS}

    def first_pods(self) -> list[Body]:
        return [first for first, *_ in self.pods().values()]

    def have_failed(self) -> bool:
        return all(it["status"]["phase"] == "Failed" for it in self.first_pods())

    def tools(self) -> set[int]:
        """The processes of the tools that run, as their node knows; beside them each pod has the one of its network."""
        uids = [it["metadata"]["uid"] for it in self.first_pods()]
        return {int(it.name) for it in Path("/proc").glob("[0-9]*") if _is_tool(it, uids)}


def _is_tool(process: Path, uids: list[str]) -> bool:
    try:
        group, program = (process / "cgroup").read_text(), (process / "comm").read_text().strip()
    except OSError:
        return False  # it has ended since it was listed
    return program != "pause" and any(uid in group for uid in uids)


@dataclass(frozen=True)
class Restarted:
    """What the kubelet ran when it started anew, and what it refused then, its node's label being gone."""

    kept: Runs
    refused: Runs


@contextmanager
def no_kubelet() -> Iterator[None]:
    kubelet = processes.recorded()["kubelet"]
    assert kubelet is not None, "the kubelet runs"
    processes.stop([kubelet])
    try:
        yield
    finally:
        node.start_kubelet()


def label(change: str) -> None:
    kubectl("label", "node", NODE, f"{LABEL}{change}")


@contextmanager
def labelled() -> Iterator[None]:
    label("=here")
    try:
        yield
    finally:
        label("-")


@contextmanager
def runs(shop: Shop, effects: Effects, place: Path, **settings: Any) -> Iterator[Runs]:
    """A space with an operator of its own."""
    place.mkdir()
    with opened_space(shop) as space:
        operator = OperatorProcess(place, watchNamespaces=[space.name], leaderElection=False, **settings)
        try:
            operator.start()
            yield Runs(space, effects)
        finally:
            operator.kill()


@pytest.fixture(scope="module")
def restarted(
    no_operator_in_the_cluster: None, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Restarted]:
    """All have had their effect; those that are refused have ended, too, before the kubelet is back."""
    del no_operator_in_the_cluster
    place, chosen = tmp_path_factory.mktemp("operators"), {"nodeSelector": {LABEL: "here"}}
    with (
        counted() as effects,
        runs(shop, effects, place / "kept") as kept,
        runs(shop, effects, place / "refused", sandbox=chosen) as refused,
        labelled(),
    ):
        kept.begin(seconds=20)
        refused.begin(seconds=600)
        until(lambda: {*kept.times().values(), *refused.times().values()} == {1}, "all have had their effect")
        with no_kubelet():
            label("-")
            processes.kill(refused.tools())
            assert kept.tools()
        until(refused.have_failed, lambda: f"the kubelet refuses what it had run: {refused.pods()}", 60)
        label("=here")
        yield Restarted(kept, refused)


def test_what_the_kubelet_runs_when_it_starts_anew_goes_on_as_if_nothing_had_happened(restarted: Restarted) -> None:
    kept = restarted.kept
    assert {it: kept.space.ended(it.lower())["phase"] for it in EFFECTS} == dict.fromkeys(EFFECTS, "Succeeded")
    assert kept.times() == dict.fromkeys(EFFECTS, 1)
    assert {it: len(pods) for it, pods in kept.pods().items()} == dict.fromkeys(EFFECTS, 1)
    assert kept.space.all("approvals") == []


def test_what_a_kubelet_that_starts_anew_refuses_has_run_and_is_not_repeated_where_it_may_not_be(
    restarted: Restarted,
) -> None:
    """Mostly the pod looks as if it had never begun; sometimes its kubelet still finds how its container ended."""
    space = restarted.refused.space
    assert {it: space.ended(it.lower())["phase"] for it in EFFECTS[:2]} == dict.fromkeys(EFFECTS[:2], "Succeeded")
    asked = space.question("nonidempotent")
    assert asked["spec"]["purpose"] == "InDoubt"
    assert restarted.refused.times() == {"ReadOnly": 2, "Idempotent": 2, "NonIdempotent": 1}
