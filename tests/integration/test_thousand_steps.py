"""A run of a thousand steps: nothing of it is lost, and its status is as small at the end as near the beginning.

Its pods are on a node without a machine, since a kubelet would take ten minutes for them.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from agentruns.cluster import RUNS, Cluster

from tests.accounts import Body
from tests.fake_node import FakeNode
from tests.integration.operator_process import OperatorProcess
from tests.journal import journal_of
from tests.space import ECHO, FINAL, Space, step, steps_of
from tests.watch import watch

COUNT = 1000
NAMES = [f"s{n}" for n in range(COUNT)]
SECONDS = 600.0


@dataclass
class Told:
    """What a watch told of the run, and its node."""

    status: Body = field(default_factory=dict)
    """The last."""
    sizes: dict[int, int] = field(default_factory=dict)
    """Bytes of the largest status, by how many steps had ended."""
    pods: int = 0
    """How many have run."""

    def hears(self, run: Body) -> bool:
        """Whether there is more to be heard."""
        self.status = run.get("status", {})
        ended = int(self.status.get("progress", "0/").partition("/")[0])
        self.sizes[ended] = max(self.sizes.get(ended, 0), len(json.dumps(self.status)))
        return self.status.get("phase") not in FINAL


@pytest.fixture(scope="module")
def told(no_operator_in_the_cluster: None, shared_space: Space, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What was told of the run until its end."""
    del no_operator_in_the_cluster
    return asyncio.run(_followed(shared_space, tmp_path_factory.mktemp("operator")))


async def _followed(space: Space, place: Path) -> Told:
    cluster, told = await Cluster.connect(), Told()
    try:
        async with asyncio.timeout(SECONDS), FakeNode(cluster) as node:
            operator = OperatorProcess(place, watchNamespaces=[space.name], sandbox=node.placement)
            try:
                await asyncio.to_thread(operator.start)
                version = _started(space)
                async for run in watch(cluster, RUNS, space.name, version):
                    if not told.hears(run):
                        break
                told.pods = len(node.begun)
            finally:
                operator.stop()
    finally:
        await cluster.close()
    return told


def _started(space: Space) -> str:
    """Starts the run; its version."""
    space.tool("echo", ECHO)
    output = {"first": "${steps.s0.output}", "middle": "${steps.s500.output}"}
    run = space.start("long", *(step(name, "echo") for name in NAMES), output=output)
    return str(run["metadata"]["resourceVersion"])


def test_it_succeeds_with_one_pod_for_each_step(told: Told) -> None:
    assert told.status["phase"] == "Succeeded", told.status["message"]
    assert told.status["progress"] == f"{COUNT}/{COUNT}"
    assert told.pods == COUNT


def test_every_step_is_recorded_once_in_the_status_or_in_the_journal(told: Told, shared_space: Space) -> None:
    records = [*journal_of(shared_space, told.status), *told.status["steps"]]
    assert [it["name"] for it in records] == NAMES
    assert {(it["state"], it["attempt"], it["output"]) for it in records} == {("Succeeded", 1, 1)}
    assert told.status["output"] == {"first": 1, "middle": 1}
    assert set(steps_of(told.status)) >= set(NAMES[-50:])


def test_its_status_never_gets_large(told: Told) -> None:
    assert max(told.sizes.values()) < 2**18


def test_what_is_written_at_its_end_is_hardly_more_than_after_a_hundred_steps(told: Told) -> None:
    """A journal's segments are named in the status: a line for some fifty steps is all that a run's length adds."""
    early = max(size for ended, size in told.sizes.items() if 100 <= ended < 200)
    late = max(size for ended, size in told.sizes.items() if ended >= COUNT - 100)
    assert late <= 1.5 * early
