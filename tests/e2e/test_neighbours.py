"""One tenant's costly expressions do not hold up the others."""

from __future__ import annotations

import time
from statistics import median

from tests.space import ECHO, FINAL, Space, step
from tests.waiting import until

DECISIONS = 5
HOSTILE = [f"hostile-{n}" for n in range(6)]
LOOP = "run.input.list.all(x, run.input.list.all(y, x + y >= 0))"
TIMES_SLOWER = 10


def seconds_to_start(space: Space, run: str) -> float:
    """From the answer to a decision until the step's pod is there."""
    asked = space.question(run)
    assert space.decide(asked, "Approve").status == 200
    began = time.monotonic()
    until(lambda: space.pods(run), f"{run} has a pod", every=0.01)
    return time.monotonic() - began


def test_others_go_on_while_expressions_loop(space: Space, shared_space: Space) -> None:
    space.tool("echo", ECHO)
    shared_space.tool("echo", ECHO)
    for n in range(2 * DECISIONS):
        space.start(f"waits-{n}", step("first", "echo", approval="Always"))
    for n in range(2 * DECISIONS):
        space.question(f"waits-{n}")
    quiet = [seconds_to_start(space, f"waits-{n}") for n in range(DECISIONS)]
    for name in HOSTILE:
        shared_space.start(name, step("first", "echo", when=LOOP), input={"list": list(range(10_000))})
    busy = [seconds_to_start(space, f"waits-{n}") for n in range(DECISIONS, 2 * DECISIONS)]
    assert any(shared_space.status(name).get("phase") not in FINAL for name in HOSTILE), "it was over too soon to tell"
    assert median(busy) < TIMES_SLOWER * median(quiet), (busy, quiet)
    for name in HOSTILE:
        status = shared_space.ended(name)
        assert (status["reason"], "takes more than 2 s" in status["message"]) == ("InvalidSpec", True)
