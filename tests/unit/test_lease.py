"""Who leads: taken when it is free, renewed in time, never taken from who may still hold it."""

from datetime import timedelta
from typing import Any

import pytest
from agentruns.core.lease import (
    LASTS,
    RENEW_DEADLINE,
    Candidate,
    LeaseSpec,
    Move,
    Watched,
    next_move,
    released,
    taken,
    watched,
)

from tests.unit.builders import NOW

ME, OTHER = "operator-a", "operator-b"
STANDBY = Candidate(ME)


def lease(holder: str, lasts: int = LASTS, **spec: Any) -> LeaseSpec:
    """A Lease as it is stored."""
    return LeaseSpec.model_validate({"holderIdentity": holder, "leaseDurationSeconds": lasts, **spec})


@pytest.mark.parametrize("spec", [None, LeaseSpec(), lease(""), lease(ME)])
def test_a_lease_that_nobody_else_holds_is_taken_at_once(spec: LeaseSpec | None) -> None:
    assert next_move(Watched(spec, since=100), STANDBY, now=100) is Move.TAKE


@pytest.mark.parametrize(
    ("lasts", "after", "move"),
    [(15, 0, Move.WAIT), (15, 14.9, Move.WAIT), (15, 15, Move.TAKE), (60, 15, Move.WAIT), (60, 60, Move.TAKE)],
)
def test_anothers_is_taken_once_it_was_seen_unchanged_for_as_long_as_it_lasts(
    lasts: int, after: float, move: Move
) -> None:
    assert next_move(Watched(lease(OTHER, lasts), since=100), STANDBY, now=100 + after) is move


def test_one_that_does_not_say_how_long_it_lasts_has_the_usual_time() -> None:
    unsaid = Watched(LeaseSpec(holder_identity=OTHER), since=100)
    assert next_move(unsaid, STANDBY, now=100 + LASTS - 0.1) is Move.WAIT
    assert next_move(unsaid, STANDBY, now=100 + LASTS) is Move.TAKE


def test_what_a_lease_says_of_times_is_never_compared_with_a_clock() -> None:
    """The holder's clock may be years behind: only that the record changes counts."""
    first = watched(None, lease(OTHER, renewTime="1970-01-01T00:00:00.000000Z"), now=100)
    again = watched(first, lease(OTHER, renewTime="1970-01-01T00:00:00.000000Z"), now=110)
    renewed = watched(again, lease(OTHER, renewTime="1970-01-01T00:00:02.000000Z"), now=114)
    assert (first.since, again.since, renewed.since) == (100, 100, 114)
    assert next_move(again, STANDBY, now=116) is Move.TAKE
    assert next_move(renewed, STANDBY, now=116) is Move.WAIT


@pytest.mark.parametrize("spec", [None, LeaseSpec(), lease(ME)])
def test_a_leader_renews_until_its_deadline_and_not_after(spec: LeaseSpec | None) -> None:
    leader = Candidate(ME, renewed=100)
    assert next_move(Watched(spec, since=0), leader, now=100 + RENEW_DEADLINE - 0.1) is Move.TAKE
    assert next_move(Watched(spec, since=0), leader, now=100 + RENEW_DEADLINE) is Move.END


@pytest.mark.parametrize("spec", [lease(OTHER), lease("")])
def test_a_leader_that_sees_anything_else_than_itself_ends(spec: LeaseSpec) -> None:
    """However long the other one has not renewed: it has led meanwhile."""
    assert next_move(Watched(spec, since=0), Candidate(ME, renewed=100), now=100) is Move.END


def test_a_leader_ends_well_before_another_may_begin() -> None:
    assert RENEW_DEADLINE < LASTS


def test_what_is_written_says_since_when_who_leads_and_how_often_that_changed() -> None:
    fresh = taken(None, ME, NOW)
    assert fresh == {
        "holderIdentity": ME,
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-02T12:00:00.000000Z",
        "renewTime": "2026-01-02T12:00:00.000000Z",
        "leaseTransitions": 0,
    }
    later = NOW + timedelta(seconds=2)
    renewed = taken(LeaseSpec.model_validate(fresh), ME, later)
    assert renewed == fresh | {"renewTime": "2026-01-02T12:00:02.000000Z"}
    lost = taken(LeaseSpec.model_validate(renewed), OTHER, later)
    assert (lost["leaseTransitions"], lost["acquireTime"]) == (1, "2026-01-02T12:00:02.000000Z")


def test_one_that_was_released_can_be_taken_at_once() -> None:
    free = LeaseSpec.model_validate(taken(None, OTHER, NOW) | released(NOW))
    assert next_move(watched(None, free, now=100), STANDBY, now=100) is Move.TAKE
    assert taken(free, ME, NOW)["leaseTransitions"] == 1
