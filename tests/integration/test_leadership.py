"""Two operators, of which one works: the other takes over whatever becomes of it, and no half-dead leader goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.installed import holder
from tests.integration.operator_process import OperatorProcess
from tests.space import ECHO, Space, step
from tests.waiting import until

OVER_AT_LAST = 30
"""Seconds: the Lease lasts 15, is looked at every 2, and the machine may be busy."""
AT_ONCE = 8
"""Seconds within which an operator takes over that need not wait until the Lease has run out."""
GAUGES = ("agentruns_runs{", "agentruns_queue_depth{", "agentruns_approvals_pending ", "agentruns_policy_enforced ")


@pytest.fixture
def pair(
    no_operator_in_the_cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """An operator that leads, and one that stands by."""
    del no_operator_in_the_cluster
    first, second = (OperatorProcess(tmp_path_factory.mktemp(it), pod=it) for it in ("first", "second"))
    try:
        first.start()
        until(lambda: first.leads, "the first leads", OVER_AT_LAST)
        second.start()
        yield first, second
    finally:
        for process in (first, second):
            process.stop()


def runs(space: Space, name: str) -> None:
    """A run of one step comes to its end."""
    space.start(name, step("first", "echo"))
    assert space.ended(name)["phase"] == "Succeeded"


def test_a_standby_is_ready_and_leaves_the_work_and_the_telling_to_the_leader(
    space: Space, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    space.tool("echo", ECHO)
    runs(space, "one")
    assert (leader.leads, standby.leads, holder()) == (True, False, "first")
    assert standby.metric("agentruns_reconcile_seconds_count") == 0
    assert [leader.serves(it) for it in GAUGES] == [True] * len(GAUGES)
    assert [standby.serves(it) for it in GAUGES] == [False] * len(GAUGES)


def test_the_standby_takes_over_from_a_leader_that_was_killed(
    space: Space, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    space.tool("echo", ECHO)
    runs(space, "one")
    space.start("asks", step("first", "echo", approval="Always"))
    asked = space.question("asks")
    leader.kill()
    assert space.decide(asked, "Approve").status == 200
    until(lambda: standby.leads, "the standby leads", OVER_AT_LAST)
    assert space.ended("asks")["phase"] == "Succeeded"
    leader.start()
    runs(space, "two")
    assert (leader.leads, holder()) == (False, "second"), "who comes back stands by"


def test_a_leader_that_is_told_to_stop_lets_the_lease_go(
    space: Space, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    space.tool("echo", ECHO)
    leader.stop()
    until(lambda: standby.leads, "the standby leads", AT_ONCE)
    runs(space, "one")


def test_a_leader_that_starts_again_in_its_pod_goes_on_at_once(pair: tuple[OperatorProcess, OperatorProcess]) -> None:
    leader, standby = pair
    leader.kill()
    leader.start()
    until(lambda: leader.leads, "it leads again", AT_ONCE)
    assert not standby.leads


def test_a_leader_that_slept_too_long_ends_itself(space: Space, pair: tuple[OperatorProcess, OperatorProcess]) -> None:
    leader, standby = pair
    space.tool("echo", ECHO)
    leader.signal(signal.SIGSTOP)
    try:
        until(lambda: standby.leads, "the standby leads", OVER_AT_LAST)
        runs(space, "one")
    finally:
        leader.signal(signal.SIGCONT)
    until(lambda: leader.exit_code() is not None, "the one that slept has ended", 10)
    assert leader.exit_code() == 1
    runs(space, "two")
    assert holder() == "second"
