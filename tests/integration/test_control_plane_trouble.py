"""The real thing: the API server is stopped for a while, etcd is full for a while.

For a local cluster that nobody else uses at the time: everything on it has this trouble.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import apiserver, control_plane
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_api_trouble import started, succeeded
from tests.space import Space, step
from tests.waiting import until

SECONDS = 15.0
"""Longer than readiness takes to tell of it."""


@contextmanager
def api_server_stopped() -> Iterator[None]:
    control_plane.stop_api()
    try:
        yield
    finally:
        control_plane.start_api()
        until(apiserver.is_ready, "the API server is ready", 90)


@contextmanager
def storage_full() -> Iterator[None]:
    control_plane.set_storage_full(True)
    try:
        yield
    finally:
        control_plane.set_storage_full(False)


@pytest.fixture
def lasting(no_operator_in_the_cluster: None, space: Space, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator without a Lease, which a leader could not renew and would end over."""
    del no_operator_in_the_cluster
    process = OperatorProcess(tmp_path, watchNamespaces=[space.name], leaderElection=False)
    try:
        process.start()
        yield process
    finally:
        process.kill()


def test_a_restart_of_the_api_server_loses_nothing(space: Space, lasting: OperatorProcess) -> None:
    started(space, "before")
    space.step_reached("before", "one", "Prepared", "Running", "Succeeded")
    with api_server_stopped():
        until(lambda: not lasting.is_ready(), "it is not ready", 2 * SECONDS)
        assert lasting.is_live()
    until(lasting.is_ready, "it is ready again", 30)
    probe = space.run_manifest("probe", step("one", "effect"))
    until(lambda: space.admin.create((space.name, "agentruns"), probe).status == 201, "all kinds are known again", 60)
    started(space, "after")
    succeeded(space, "before", "after", seconds=60)


def test_a_full_storage_loses_nothing(space: Space, lasting: OperatorProcess) -> None:
    started(space, "before")
    space.step_reached("before", "one", "Prepared", "Running", "Succeeded")
    with storage_full():
        end = time.monotonic() + SECONDS
        until(lambda: not lasting.is_live() or time.monotonic() > end, "it has lasted", 2 * SECONDS)
        assert lasting.is_live()
    started(space, "after")
    succeeded(space, "before", "after", seconds=60)
