"""What was found, as a page of the documentation."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable

from tests.crashes.cases import NOT_TAKEN, STUCK, Found
from tests.crashes.lives import LIVES, OTHER_LISTS

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
do, or no process was started. A person who sees the effects answers what is asked.
"""


def page(found: list[Found], random: list[str]) -> str:
    """The whole page."""
    parts = [HEAD, summary(found), *random, HOW, _lives()]
    groups = dict.fromkeys(it.case.group for it in found)
    return "\n".join([*parts, *(_table(group, [it for it in found if it.case.group == group]) for group in groups)])


def summary(found: list[Found]) -> str:
    """What counts, in figures."""
    once = [it for it in found if it.case.effect == "NonIdempotent"]
    waits = sorted(it.progress for it in found if it.progress is not None)
    asked = sum(it.doubts > it.case.doubts for it in found)
    lines = [
        f"- {len(found)} cases, of which {sum(not it.wrong for it in found)} ended as they must",
        f"- duplicates of NonIdempotent effects: {sum(n > 1 for it in once for n in it.times)}, in {len(once)} cases",
        f"- lost results: {sum('lost:' in w for it in found for w in it.wrong)}",
        f"- runs stuck: {sum(it.phase == STUCK for it in found)}; cases not taken: "
        f"{sum(it.phase == NOT_TAKEN for it in found)}",
        f"- asked about though the result could be read: {asked}",
        f"- {spread('start of the new process to progress', waits)}",
        f"- taken on {os.cpu_count()} processors, with a load of {os.getloadavg()[2]:.0f} in the last 15 minutes",
    ]
    return "\n".join(lines) + "\n"


def spread(what: str, values: Iterable[float]) -> str:
    """Median, ninety-fifth percentile and maximum in seconds."""
    ordered = sorted(values)
    if not ordered:
        return f"{what}: nothing"
    high = ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]
    figures = f"p50 {statistics.median(ordered):.2f} s, p95 {high:.2f} s, at most {ordered[-1]:.2f} s"
    return f"{what}: {figures} ({len(ordered)} times)"


def _lives() -> str:
    lines = [f"- **{it.name}**: {it.about}; {len(it.points)} points" for it in LIVES]
    lists = ", ".join(f"`{it}`" for it in OTHER_LISTS)
    head = f"The lives of a step. `list AgentRun` stands for {lists}, too: nothing is decided until all are read."
    return "\n".join([head, "", *lines, ""])


def _table(group: str, found: list[Found]) -> str:
    columns = ("point", "moment", "effect", "effects done", "outcome", "asked", "progress")
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
    return "\n".join([f"## {group[0].upper()}{group[1:]}\n", head, *map(_row, found), ""])


def _row(it: Found) -> str:
    times = " + ".join(map(str, it.times))
    progress = "-" if it.progress is None else f"{it.progress:.2f} s"
    outcome = it.phase + (f" **WRONG**: {'; '.join(it.wrong)}" if it.wrong else "")
    case = it.case
    return f"| {case.point} | {case.moment} | {case.effect} | {times} | {outcome} | {it.doubts} | {progress} |"
