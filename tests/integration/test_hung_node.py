"""A node that takes requests for logs and does not answer: nobody waits for it but those whose results it has."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.api_proxy import READS, ApiProxy, held_up
from tests.integration.operator_process import OperatorProcess, kubeconfig
from tests.shop import Shop
from tests.space import ECHO, Space, opened_space, step
from tests.waiting import until

PODS = 20
"""More than the operator makes passes at once for one namespace."""
SECONDS = 30.0
"""For which the node hangs: a leader that cannot renew its Lease ends after ten."""
# More than the message of a container's end holds, so that the log has to be read. It may not be repeated: what was
# given up would end in doubt.
LONG = "import json; print(json.dumps('x' * 6000))"
NON_IDEMPOTENT = {"effect": "NonIdempotent", "approval": "Never"}


@pytest.fixture
def other(shop: Shop) -> Iterator[Space]:
    """Another namespace, of whose pods the logs can be read."""
    with opened_space(shop) as space:
        yield space


@pytest.fixture
def leader(
    no_operator_in_the_cluster: None, space: Space, other: Space, proxy: ApiProxy, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """An operator that leads by its Lease, and reaches the API server through the proxy alone."""
    del no_operator_in_the_cluster
    watched = [space.name, other.name]
    process = OperatorProcess(tmp_path, access=kubeconfig(proxy.url), watchNamespaces=watched)
    try:
        process.start()
        until(lambda: process.leads, "it leads", 30)
        yield process
    finally:
        process.kill()


def ended_pods(space: Space) -> int:
    """How many pods of the space have come to their end, as the cluster says."""
    return sum(pod["status"]["phase"] == "Succeeded" for pod in space.all("pods"))


def test_a_node_that_gives_no_logs_holds_up_neither_the_lease_nor_another_namespace_and_no_result_is_lost(
    space: Space, other: Space, proxy: ApiProxy, leader: OperatorProcess
) -> None:
    space.tool("long", LONG, **NON_IDEMPOTENT)
    other.tool("echo", ECHO)
    runs, over = [f"run-{number}" for number in range(PODS)], threading.Event()
    logs_of_the_node = rf"/namespaces/{space.name}/pods/[^/]+/log\?"
    with proxy.trouble(held_up(over), READS, logs_of_the_node) as trouble:
        for run in runs:
            space.start(run, step("one", "long"))
        until(lambda: ended_pods(space) == PODS, "all pods have ended", 180)
        until(lambda: any("follow=false" in it for it in trouble.hits), "logs of ended pods are asked for", 30)
        end, number = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            other.start(f"goes-on-{number}", step("one", "echo"))
            assert other.ended(f"goes-on-{number}", 30)["phase"] == "Succeeded"
            number += 1
        assert leader.is_live() and leader.leads, leader.log()[-4000:]
        assert {space.status(run)["phase"] for run in runs} == {"Running"}
        over.set()
        for run in runs:
            status = space.ended(run, 60)
            assert status["phase"] == "Succeeded", status
            assert len(space.pods(run)) == 1
    assert leader.leads, "it is the same process still"
