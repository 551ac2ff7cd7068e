"""Room for sandbox pods: no more at once than the limits allow, and nobody kept from a turn."""

from collections.abc import Iterator
from typing import Any

import pytest
from agentruns.core.naming import Key
from agentruns.core.observed import POD_LIMIT_REACHED
from agentruns.room import Room
from agentruns.settings import Limits
from agentruns.store import Store

from tests.unit.builders import a_pod, an_end

A, B = ("shop", "a"), ("shop", "b")
LONE = ("lab", "lone")


class Place:
    """Runs that want pods, a store that sees those they made, and who was woken when."""

    def __init__(self, **limits: int) -> None:
        self.store = Store(lambda _: None, lambda _: None)
        self.woken: list[Key] = []
        self.room = Room(Limits(**limits), self.store, self.woken.append)
        self._version = 0

    def makes(self, run: Key, pod: str = "") -> bool:
        """Whether the run may make a pod, which it then does."""
        with self.room.for_pod(run) as full:
            if full is None:
                self.sees(run[0], pod or run[1])
            return full is None

    def sees(self, namespace: str, name: str, phase: str = "Pending", *, gone: bool = False) -> None:
        """The store sees a pod."""
        self._version += 1
        metadata = {"namespace": namespace, "name": name, "uid": f"{namespace}/{name}"}
        labels = {"labels": {"agentrun.dev/run-uid": "u"}, "resourceVersion": str(self._version)}
        self.store.take("Pod", {"metadata": metadata | labels, "status": {"phase": phase}}, gone=gone)

    def ends(self, namespace: str, name: str, **how: Any) -> None:
        """A pod ends, and its run is looked at."""
        self.sees(namespace, name, "Succeeded", **how)
        self.room.share()


@pytest.fixture
def full() -> Iterator[Place]:
    """A place with room for two pods, both taken by `shop`."""
    place = Place(activePods=2)
    assert place.makes(("shop", "x"))
    assert place.makes(("shop", "y"))
    yield place


def test_without_limits_there_is_always_room() -> None:
    place = Place()
    assert all(place.makes(("shop", f"r{n}")) for n in range(100))


@pytest.mark.parametrize("limits", [{"activePods": 3}, {"activePodsPerNamespace": 3}])
def test_no_more_pods_are_active_than_a_limit_allows(limits: dict[str, int]) -> None:
    place = Place(**limits)
    assert [place.makes(("shop", f"r{n}")) for n in range(5)] == [True] * 3 + [False] * 2


def test_the_limit_of_a_namespace_is_no_limit_of_others() -> None:
    place = Place(activePodsPerNamespace=1)
    assert [place.makes(A), place.makes(B), place.makes(LONE)] == [True, False, True]
    place.ends("lab", "lone")
    assert place.woken == []
    place.ends("shop", "a")
    assert place.woken == [B]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("activePods", "limits.activePods of the installation, 1, is reached"),
        ("activePodsPerNamespace", "limits.activePodsPerNamespace of the installation, 1, is reached"),
    ],
)
def test_who_may_not_is_told_which_limit_it_is_and_to_wait(limit: str, said: str) -> None:
    place = Place(**{limit: 1})
    assert place.makes(A)
    with place.room.for_pod(B) as refusal:
        assert refusal is not None
        assert (refusal.for_now, refusal.reason) == (True, POD_LIMIT_REACHED)
        assert refusal.message.startswith(said)


@pytest.mark.parametrize("limit", ["activePods", "activePodsPerNamespace"])
def test_creations_under_way_are_counted_though_nobody_sees_their_pods_yet(limit: str) -> None:
    place = Place(**{limit: 2})
    late = ("shop", "late")
    with place.room.for_pod(A) as first, place.room.for_pod(B) as second, place.room.for_pod(late) as third:
        assert (first, second) == (None, None)
        assert third is not None
    assert place.woken == [late]  # none of the others' pods came to be


@pytest.mark.parametrize("gone", [False, True])
def test_a_pod_that_has_ended_or_is_gone_makes_room(full: Place, gone: bool) -> None:
    assert not full.makes(A)
    full.ends("shop", "x", gone=gone)
    assert full.woken == [A]
    assert full.makes(A)


def test_a_pod_whose_tool_has_ended_makes_room_before_its_kubelet_says_so_of_the_pod() -> None:
    assert not a_pod(phase="Running", end=an_end()).active
    assert a_pod(phase="Running").active


def test_a_pod_that_is_just_seen_again_makes_no_room(full: Place) -> None:
    assert not full.makes(A)
    full.sees("shop", "x", "Running")
    full.room.share()
    assert (full.woken, full.store.active_pods(), full.store.active_pods("shop")) == ([], 2, 2)


def test_who_came_first_goes_first_and_nobody_who_comes_later_takes_its_room(full: Place) -> None:
    assert not full.makes(A)
    assert not full.makes(B)
    full.ends("shop", "x")
    assert full.woken == [A]
    assert not full.makes(("shop", "c"))
    assert not full.makes(B)
    assert full.makes(A)
    full.ends("shop", "y")
    assert full.woken == [A, B]


def test_whoever_waits_already_keeps_its_place_when_it_asks_again(full: Place) -> None:
    for run in (A, B, A, A):
        assert not full.makes(run)
    full.ends("shop", "x")
    full.ends("shop", "y")
    assert full.woken == [A, B]


def test_a_namespace_with_a_thousand_waiting_runs_does_not_keep_another_from_its_turn(full: Place) -> None:
    hog = [("shop", f"r{n}") for n in range(1000)]
    assert not any(full.makes(run) for run in hog)
    assert not full.makes(LONE)
    full.ends("shop", "x")
    full.ends("shop", "y")
    assert full.woken == [hog[0], LONE]
    assert full.makes(LONE)


def test_a_run_that_wants_two_pods_takes_one_a_turn(full: Place) -> None:
    assert not full.makes(A)
    assert not full.makes(B)
    full.ends("shop", "x")
    assert full.makes(A, "a1")
    assert not full.makes(A, "a2")
    full.ends("shop", "y")
    assert full.woken == [A, B]


def test_room_that_was_kept_for_a_run_which_wants_it_no_more_goes_to_the_next(full: Place) -> None:
    assert not full.makes(A)
    assert not full.makes(B)
    full.ends("shop", "x")
    full.room.leave(A)
    assert full.woken == [A, B]
    full.room.leave(A)
    assert full.makes(B)
    assert not full.makes(A)


def test_a_run_that_has_left_the_line_is_not_woken(full: Place) -> None:
    assert not full.makes(A)
    assert not full.makes(LONE)
    full.room.leave(A)
    full.ends("shop", "x")
    assert full.woken == [LONE]


def test_a_creation_that_failed_makes_room_again() -> None:
    place = Place(activePods=1)
    with pytest.raises(RuntimeError), place.room.for_pod(A):
        assert not place.makes(B)
        raise RuntimeError
    assert place.woken == [B]
    assert place.makes(B)


def test_nothing_is_kept_of_runs_and_namespaces_that_have_what_they_want(full: Place) -> None:
    assert not full.makes(A)
    full.ends("shop", "x")
    full.ends("shop", "y")
    assert full.makes(A)
    full.ends("shop", "a")
    assert not full.room._line._turns
    assert not full.room._kept
    assert not full.room._held
    assert not full.store._active
