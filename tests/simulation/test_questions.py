"""A question is put to a person only after the run was read anew: one who slept asks nothing that is out of date."""

from unittest.mock import patch

import pytest
from agentruns import clock
from agentruns.cluster import RUNS, TOOLS, Body, Resource
from agentruns.performing import StaleError
from agentruns.reconciler import reconcile

from tests.simulation.loop import VirtualDatetime, VirtualLoop
from tests.simulation.operator_process import OperatorProcess
from tests.simulation.promises import Promises
from tests.simulation.scenario import NAMESPACES
from tests.simulation.world.api import request
from tests.simulation.world.kubelet import Kubelet
from tests.simulation.world.world import World

NAMESPACE = NAMESPACES[0]
TOOL: Body = {"description": "Does it.", "image": "i@sha256:1", "effect": "NonIdempotent", "approval": "Always"}


def applied(world: World, resource: Resource, name: str, spec: Body) -> Body:
    """The object as the API server has stored it."""
    body = {"kind": resource.kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    return world.api.answer(request("POST", resource.path(NAMESPACE), {}, body))


async def asked_by_one_who_slept(world: World) -> None:
    """What an operator has read of a run, another one then changes."""
    tool = applied(world, TOOLS, "pay", TOOL)
    run = applied(world, RUNS, "pays", {"steps": [{"name": "pay", "tool": "pay"}]})
    operator = OperatorProcess(world, Kubelet(world, Promises(world), 1.0), "operator")
    operator.store.take("Tool", tool)
    operator.store.take("AgentRun", run)
    path = f"{RUNS.path(NAMESPACE, 'pays')}/status"
    world.api.answer(request("PUT", path, {}, run | {"status": {"phase": "Pending", "message": "moved on"}}))
    with pytest.raises(StaleError, match="the run has changed"):
        await reconcile((NAMESPACE, "pays"), operator.app)
    assert world.api.all("approvals") == []
    await reconcile((NAMESPACE, "pays"), operator.app)
    assert [it["spec"]["step"] for it in world.api.all("approvals")] == ["pay"]
    await operator.closed()


def test_who_slept_since_the_run_was_read_asks_nothing() -> None:
    loop = VirtualLoop()
    world = World(1, loop, frozenset())
    world.habits.at_work = False
    with patch.object(clock, "datetime", VirtualDatetime):
        loop.run_until_complete(asked_by_one_who_slept(world))
    loop.close()
