"""The operator is killed at every point of a step's life, once each; `make crash-matrix` does it in every way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, takewhile

import pytest

from tests.crashes.cases import case_of, crashed, tried
from tests.crashes.disruptions import STATES, disrupted
from tests.crashes.effects import counted
from tests.crashes.fail_over import failed_over
from tests.crashes.lives import ALL, LIVES, OTHER_CALLS, PLAIN, Life, Point
from tests.crashes.operators import Call
from tests.crashes.scene import Stage
from tests.crashes.undisturbed import undisturbed
from tests.faults.calls import is_write
from tests.faults.fault import Fault, Moment
from tests.integration.operator_process import kubeconfig

AT_ONCE = 3
LEADERS_DEATHS = (
    ("NonIdempotent", Fault("create Pod", 1, Moment.SENT)),
    ("NonIdempotent", Fault("put AgentRun/status", 2)),
    ("NonIdempotent", Fault("ungate Pod", 1, Moment.AFTER)),
)


@pytest.fixture(scope="module")
def stage(scaled_down: None) -> Iterator[Stage]:
    """A counter of effects, and no operator but those of the tests."""
    del scaled_down
    with counted() as effects:
        yield Stage.of(kubeconfig(), effects)


@pytest.fixture(scope="module")
def calls_of(stage: Stage) -> dict[str, list[Call]]:
    """The calls of each life that nothing disturbs."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip((it.name for it in LIVES), pool.map(partial(undisturbed, stage), LIVES), strict=True))


@pytest.mark.parametrize("life", LIVES, ids=lambda it: it.name)
def test_every_call_in_the_life_of_a_step_has_its_place_in_the_matrix(
    calls_of: dict[str, list[Call]], life: Life
) -> None:
    """Else a call could be added between two others, and nobody would ever be killed there."""
    calls = calls_of[life.name]
    assert set(life.points) <= {(it.call, it.number) for it in calls}
    made = Counter(it.call for it in calls if it.call not in OTHER_CALLS)
    named = Counter[str]()
    for it in LIVES[: LIVES.index(life) + 1]:
        for call, number in it.points:
            named[call] = max(named[call], number)
    assert made.keys() <= named.keys()
    assert {call: times for call, times in (made - named).items() if is_write(call)} == {}
    assert {it for it in own_writes(life, calls_of) if it[0] == "put AgentRun/status"} <= set(life.points)


def own_writes(life: Life, calls_of: dict[str, list[Call]]) -> list[Point]:
    """The writes of a life from where it parts with each of those above it; its Tools are told of beside it."""
    writes = {
        name: [(it.call, it.number) for it in calls if is_write(it.call) and it.call != "put Tool/status"]
        for name, calls in calls_of.items()
    }
    mine, others = writes[life.name], [writes[it.name] for it in LIVES[: LIVES.index(life)]]
    shared = (sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(mine, it, strict=False))) for it in others)
    return mine[max(shared, default=0) :]


def test_a_result_that_is_lost_with_its_pod_is_made_again_or_asked_about(stage: Stage) -> None:
    """The pod has ended well; no operator was there to read its result before somebody tore it out."""
    ended, torn_out = STATES[-1], "deleted, and its finalizer removed"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        cases = [pool.submit(disrupted, stage, ended, torn_out, effect) for effect in ALL]
    found = [it.result() for it in cases]
    assert [(it.times, it.doubts, it.wrong) for it in found] == [((2,), 0, ()), ((2,), 0, ()), ((1,), 1, ())]


def test_killed_at_every_point_nothing_is_done_twice_or_lost_and_nobody_asked(stage: Stage) -> None:
    """Each point at one of its moments, with the tools that may not be repeated where there are such."""
    moments = cycle(Moment)
    faults = [
        (life, life.effects[-1], Fault(call, number, next(moments))) for life in LIVES for call, number in life.points
    ]
    over = LEADERS_DEATHS
    with ThreadPoolExecutor(AT_ONCE) as pool, ThreadPoolExecutor(len(over)) as beside:  # which mostly wait
        cases = [beside.submit(tried, case_of(PLAIN, *it), partial(failed_over, stage, *it)) for it in over]
        cases += [pool.submit(tried, case_of(*it), partial(crashed, stage, *it)) for it in faults]
    assert {it.result().case: it.result().wrong for it in cases if it.result().wrong} == {}
