"""The lives of a step, and every point between two API calls in them: where the operator is killed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.calls import is_write
from tests.faults.fault import Deed, Fault, Moment

ALL = ("ReadOnly", "Idempotent", "NonIdempotent")
REPEATABLE = ALL[:2]
ACTS, ASKS, SETTLES = "acts", "asks", "settles"
"""What a Tool does: it acts, asks a person before it acts, or has a settle tool for the doubts that it leaves."""
Point = tuple[str, int]
"""The n-th call of a name in the life of a process."""


@dataclass(frozen=True)
class Life:
    """A run of some steps (each with what its tool does), and those of its calls that no life above has."""

    name: str
    about: str
    points: tuple[Point, ...]
    steps: tuple[dict[str, Any], ...] = ({},)
    tool: str = ACTS
    task: bool = False
    """Whether the run has an idempotencyKey; a second run of that key is made while the first one is at it."""
    effects: tuple[str, ...] = ALL
    times: int = 1
    """How often the effect of each step is expected."""
    doubts: int = 0
    """How often somebody is expected to be asked what has become of it."""

    def faults(self) -> Iterator[Fault]:
        """Death before, in and after every call; and the time-out of every write that was carried out."""
        for call, number in self.points:
            for moment in Moment:
                yield Fault(call, number, moment)
            if is_write(call):
                yield Fault(call, number, Moment.AFTER, Deed.TIME_OUT)


PLAIN = Life(
    "two steps",
    "the second reads what the first returned",
    points=(
        ("list AgentRun", 1),
        ("try Approval", 1),
        ("put Tool/status", 1),
        ("create ControllerRevision", 1),
        ("create NetworkPolicy", 1),
        ("create NetworkPolicy", 2),
        ("create Pod", 1),
        ("put AgentRun/status", 1),
        ("create Event", 1),
        ("ungate Pod", 1),
        ("get ControllerRevision", 1),
        ("follow Pod/log", 1),
        ("create Pod", 2),
        ("put AgentRun/status", 2),
        ("ungate Pod", 2),
        ("release Pod", 1),
        ("follow Pod/log", 2),
        ("put AgentRun/status", 3),
        ("release Pod", 2),
    ),
    steps=({}, {}),
)
APPROVAL = Life(
    "approval",
    "a person approves the call",
    points=(
        ("get AgentRun", 1),
        ("create Approval", 1),
        ("put AgentRun/status", 1),
        ("patch Approval/status", 1),
        ("create Pod", 1),
        ("put AgentRun/status", 2),
        ("ungate Pod", 1),
        ("put AgentRun/status", 3),
    ),
    tool=ASKS,
)
BIG = Life(
    "big output",
    "an output too big for the status",
    points=(("create ConfigMap", 1), ("get ConfigMap", 1), ("put AgentRun/status", 2)),
    steps=({"filler": 5000},),
)
_AGAIN = (
    ("put AgentRun/status", 2),
    ("release Pod", 1),
    ("create Pod", 2),
    ("put AgentRun/status", 3),
    ("ungate Pod", 2),
    ("put AgentRun/status", 4),
)
RETRY = Life("transient", "the first attempt does nothing and says so", points=_AGAIN, steps=({"fails": 75},))
UNKNOWN = Life(
    "unknown, repeatable",
    "the first attempt ends after its effect without a result",
    points=_AGAIN,
    steps=({"fails": 1},),
    effects=REPEATABLE,
    times=2,
)
DOUBT = Life(
    "unknown, not repeatable",
    "the same of a tool that may not be repeated: a person says that it happened",
    points=(
        ("create Approval", 1),
        ("put AgentRun/status", 2),
        ("patch Approval/status", 1),
        ("get Approval", 1),
        ("put AgentRun/status", 3),
        ("release Pod", 1),
    ),
    steps=({"fails": 1},),
    effects=ALL[2:],
    doubts=1,
)
SETTLED = Life(
    "settled: it happened",
    "the same of a tool with a settle tool, which says that it happened: nobody is asked",
    points=(
        ("put Tool/status", 2),
        ("create ControllerRevision", 2),
        ("put AgentRun/status", 1),
        ("get ControllerRevision", 2),
        ("put AgentRun/status", 2),
        ("create NetworkPolicy", 3),
        ("create Pod", 2),
        ("put AgentRun/status", 3),
        ("ungate Pod", 2),
        ("put AgentRun/status", 4),
        ("release Pod", 1),
        ("release Pod", 2),
    ),
    tool=SETTLES,
    steps=({"fails": 1},),
    effects=ALL[2:],
)
UNDONE = Life(
    "settled: it did not happen",
    "its first attempt ends before its effect without a word; the settle tool says so, and it is tried again",
    points=(
        ("put AgentRun/status", 4),
        ("create Pod", 3),
        ("put AgentRun/status", 5),
        ("ungate Pod", 3),
        ("put AgentRun/status", 6),
        ("release Pod", 3),
    ),
    tool=SETTLES,
    steps=({"fails": 3},),
    effects=ALL[2:],
)
TASK = Life(
    "one task, two runs",
    "two runs of one idempotencyKey: the second is made while the first is at it, waits, and gets its result",
    points=(
        ("get ConfigMap", 1),
        ("create ConfigMap", 1),
        ("get ConfigMap", 2),
        ("put AgentRun/status", 1),
        ("get ConfigMap", 3),
        ("put AgentRun/status", 2),
        ("put AgentRun/status", 3),
        ("put ConfigMap", 1),
        ("put AgentRun/status", 4),
        ("get AgentRun", 1),
        ("put AgentRun/status", 5),
    ),
    steps=({"seconds": 2},),
    effects=(ALL[0], ALL[2]),
    task=True,
)
LIVES = (PLAIN, APPROVAL, BIG, RETRY, UNKNOWN, DOUBT, SETTLED, UNDONE, TASK)
OTHER_LISTS = ("list Tool", "list NetworkPolicy", "list ControllerRevision", "list Pod", "list Approval")
"""Calls that come before the one that is killed for all of them."""
OTHER_CALLS = (*OTHER_LISTS, "create Event", "get Pod/log")
"""Calls that come by chance: Events are told in the background, a log is read anew where a pod's end is seen first."""
