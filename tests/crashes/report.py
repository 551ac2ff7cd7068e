"""What was found, as a page of the documentation."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.crashes.cases import NOT_TAKEN, STUCK, Found
from tests.crashes.crowd import Disturbed
from tests.crashes.lives import LIVES, OTHER_LISTS

BOUNDS = (1.5, 3.0)
"""Seconds from the start of a new process to progress: at most the first in half of all cases, the second in 95 %."""
CLAIM = (
    "at-least-once execution of ReadOnly and Idempotent tools, at-most-once execution of NonIdempotent ones; "
    "an outcome that cannot be known is asked about, never guessed."
)
HEAD = f"""# The crash matrix

Made by `make crash-matrix`, which replaces this page. The claim:

> *{CLAIM}*

It holds for one unbroken history of the cluster's store: a restore from a backup is outside of it, and so is whoever
may create pods or write our status by hand.
"""
HOW = """
## How it is taken

Real pods on a real cluster. A test build of the entry point gives every API call of the operator a name and a
number, and ends its own process with SIGKILL at one of them: **before** its bytes are sent; when they are **sent**,
while nobody has read the answer (whether the API server carries it out is a race); **after** the answer was read, with
nothing done about it. **time out**: the process lives, the call was carried out, and what comes back is that no answer
came. Then a new process starts. The tools count their effects at a service outside of the cluster, by idempotency key;
a run is at its end when it is final and nothing holds its pods. *Progress* is the time from the start of the new
process (interpreter and imports included) to the first answer to a write of its own; `-` is where nothing was left to
do, or no process was started. A person who sees the effects answers what is asked. *Stuck* is a run that has not ended
after 90 s; *not taken* is a case that did not come about, in two attempts.
"""
FAIL_OVER = """
## Fail-over between two replicas

Two operators with a Lease: one leads, the other one stands by. The one that leads is killed with SIGKILL at every write
in the life of two steps, at all three moments where nothing may be repeated, else when its bytes are sent; or at random
moments; or it is told to stop, and lets the Lease go. A dead leader's Lease lasts 15 s from its last renewal, of which
there is one every 2 s, and who stands by looks every 2 s: from the death to progress it takes 13 to 19 s, of which the
work is what comes after holding the Lease.
"""


@dataclass(frozen=True)
class Machine:
    """How busy the machine is: its processors, and the load of its last minute before the first case."""

    at_once: int
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)
    before: float = field(default_factory=lambda: os.getloadavg()[0])

    def told(self) -> str:
        """A line about it, once all cases are over."""
        minute, _, quarter = os.getloadavg()
        return (
            f"- taken on {self.processors} processors, {self.at_once} cases at once; load {self.before:.1f} in the "
            f"minute before the first case, at the end {minute:.1f} in the last minute and {quarter:.1f} in the last 15"
        )


@dataclass(frozen=True)
class Matrix:
    """All that was found."""

    restarts: list[Found]
    killed_at_random: Disturbed
    fail_overs: list[Found]
    leaders_at_random: list[Disturbed]

    def wrong(self) -> list[str]:
        """All that is not as it must be."""
        cases = (f"{it.case}: {what}" for it in (*self.restarts, *self.fail_overs) for what in it.wrong)
        return [*cases, *(what for it in (self.killed_at_random, *self.leaders_at_random) for what in it.wrong)]

    def of_restarts(self) -> list[str]:
        """What counts of operators that start again."""
        return [*_summary(self.restarts), _bounded(self.restarts), *self.killed_at_random.lines]

    def of_fail_overs(self) -> list[str]:
        """What counts of operators that take over."""
        random = (line for it in self.leaders_at_random for line in it.lines)
        return [*_summary(self.fail_overs), *_leases(self.fail_overs), *random]


def page(matrix: Matrix, machine: Machine) -> str:
    """The whole page."""
    parts = [HEAD, *matrix.of_restarts(), machine.told(), HOW, _lives()]
    parts += [FAIL_OVER, *matrix.of_fail_overs(), "", _fail_over_table(matrix.fail_overs)]
    groups = dict.fromkeys(it.case.group for it in matrix.restarts)
    tables = (_table(group, [it for it in matrix.restarts if it.case.group == group]) for group in groups)
    return "\n".join([*parts, *tables])


def _summary(found: list[Found]) -> list[str]:
    """What counts, in figures."""
    taken = [it for it in found if it.phase != NOT_TAKEN]
    once = [it for it in taken if it.case.effect == "NonIdempotent" and it.times]  # of one that is stuck none is known
    return [
        f"- {len(found)} cases, of which {sum(not it.wrong for it in found)} ended as they must; "
        f"not taken: {len(found) - len(taken)}",
        f"- duplicates of NonIdempotent effects: {sum(n > 1 for it in once for n in it.times)}, in {len(once)} cases",
        f"- lost results: {sum(w.startswith('lost: ') for it in taken for w in it.wrong)}",
        f"- runs stuck: {sum(it.phase == STUCK for it in taken)}",
        f"- asked about though the result could be read: {sum(it.doubts > it.case.doubts for it in taken)}",
    ]


def _bounded(found: list[Found]) -> str:
    """How soon there was progress, held against what it may take."""
    waits = sorted(it.progress for it in found if it.progress is not None)
    if not waits:
        return "- start of the new process to progress: never"
    figures = zip(("p50", "p95"), (statistics.median(waits), _high(waits)), BOUNDS, strict=True)
    held = (
        f"{name} {value:.2f} s (at most {bound} s: {'met' if value <= bound else '**not met**'})"
        for name, value, bound in figures
    )
    return f"- start of the new process to progress: {', '.join(held)}, at most {waits[-1]:.2f} s ({len(waits)} times)"


def _leases(found: list[Found]) -> list[str]:
    spreads = {
        "death of the leader to progress": [it.progress for it in found],
        "of that, from holding the Lease to progress": [it.from_lease for it in found],
    }
    return [f"- {spread(what, (it for it in values if it is not None))}" for what, values in spreads.items()]


def spread(what: str, values: Iterable[float]) -> str:
    """Median, ninety-fifth percentile and maximum in seconds."""
    ordered = sorted(values)
    if not ordered:
        return f"{what}: nothing"
    figures = f"p50 {statistics.median(ordered):.2f} s, p95 {_high(ordered):.2f} s, at most {ordered[-1]:.2f} s"
    return f"{what}: {figures} ({len(ordered)} times)"


def _high(ordered: list[float]) -> float:
    return ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]


def _lives() -> str:
    lines = [f"- **{it.name}**: {it.about}; {len(it.points)} points" for it in LIVES]
    lists = ", ".join(f"`{it}`" for it in OTHER_LISTS)
    head = f"The lives of a step. `list AgentRun` stands for {lists}, too: nothing is decided until all are read."
    return "\n".join([head, "", *lines])


def _fail_over_table(found: list[Found]) -> str:
    head = _head("point", "moment", "effect", "effects done", "outcome", "asked", "death to Lease", "Lease to progress")
    return "\n".join([head, *(_row(it, it.lease, it.from_lease) for it in found), ""])


def _table(group: str, found: list[Found]) -> str:
    head = _head("point", "moment", "effect", "effects done", "outcome", "asked", "progress")
    return "\n".join([f"## {group[0].upper()}{group[1:]}\n", head, *(_row(it, it.progress) for it in found), ""])


def _head(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def _row(it: Found, *seconds: float | None) -> str:
    times = " + ".join(map(str, it.times))
    waits = " | ".join("-" if wait is None else f"{wait:.2f} s" for wait in seconds)
    outcome = it.phase + (f" **WRONG**: {_in_a_cell('; '.join(it.wrong))}" if it.wrong else "")
    case = it.case
    return f"| {case.point} | {case.moment} | {case.effect} | {times} | {outcome} | {it.doubts} | {waits} |"


def _in_a_cell(text: str) -> str:
    """Text as a table has it: on one line, and not all of a log."""
    return " ".join(text.replace("|", "/").split())[:500]
