"""Which of several operators works: a Lease read, and what follows from it.

It only saves work: that nothing is done twice rests on guarded writes, whoever leads. Clocks of machines are never
compared: a Lease has run out once this process, by its own monotonic clock, saw it unchanged for as long as it lasts.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from agentruns.core.model import Model

LASTS: Final = 15
"""Whole seconds after its last renewal at which others may take the Lease."""
RENEW_DEADLINE: Final = 10.0
"""Seconds after its last renewal at which a leader ends, well before others may take over."""


class LeaseSpec(Model):
    """What a Lease says; its times are for people."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None  # which nobody reads: that it changes is how a renewal is seen
    lease_transitions: int | None = None


@dataclass(frozen=True)
class Watched:
    """A Lease (None if there is none), and since when, in monotonic seconds, it has been seen just so."""

    spec: LeaseSpec | None
    since: float


@dataclass(frozen=True)
class Candidate:
    """A process that may lead, and when it sent its last renewal if it does, in monotonic seconds."""

    identity: str
    renewed: float | None = None


class Move(Enum):
    """What a candidate does now."""

    TAKE = auto()
    WAIT = auto()
    END = auto()


def watched(before: Watched | None, spec: LeaseSpec | None, now: float) -> Watched:
    """The Lease as it is seen now; an unchanged one has been so since it was first seen."""
    return before if before is not None and before.spec == spec else Watched(spec, now)


def next_move(lease: Watched, candidate: Candidate, now: float) -> Move:
    """Whether to take or renew the Lease, wait, or end: a leader that is late, or sees another one, never goes on."""
    holder = lease.spec.holder_identity if lease.spec else None
    if candidate.renewed is not None:
        late = now >= candidate.renewed + RENEW_DEADLINE
        return Move.END if late or holder not in (None, candidate.identity) else Move.TAKE
    if lease.spec is None or not holder or holder == candidate.identity:
        return Move.TAKE  # its own: a container that was started again in the same pod
    return Move.TAKE if now >= lease.since + (lease.spec.lease_duration_seconds or LASTS) else Move.WAIT


def taken(spec: LeaseSpec | None, identity: str, now: datetime) -> dict[str, Any]:
    """The spec of a Lease that is taken, or renewed by who holds it."""
    before, at = spec or LeaseSpec(), micro_time(now)
    renewed = before.holder_identity == identity
    transitions = (before.lease_transitions or 0) + (0 if renewed or spec is None else 1)
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": LASTS,
        "acquireTime": before.acquire_time if renewed and before.acquire_time else at,
        "renewTime": at,
        "leaseTransitions": transitions,
    }


def released(now: datetime) -> dict[str, Any]:
    """What changes in the spec of a Lease whose holder lets it go: anybody may take it at once."""
    return {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": micro_time(now)}


def micro_time(moment: datetime) -> str:
    """A moment in UTC as a Lease carries it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
