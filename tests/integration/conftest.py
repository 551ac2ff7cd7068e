"""What tests share that kill the operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import installed
from tests.cluster import local, providers
from tests.integration.api_proxy import ApiProxy
from tests.integration.operator_process import OperatorProcess
from tests.shop import Shop

# Who stops and starts the parts of a cluster must have made it out of processes of this machine.
_OF_A_LOCAL_ONE = ["test_control_plane_trouble.py", "test_kubelet_restart.py", "test_stored_bytes.py"]
collect_ignore = [] if providers.chosen() is local else _OF_A_LOCAL_ONE


@pytest.fixture(scope="module")
def scaled_down() -> Iterator[None]:
    """The installed operator has gone, until the end of the module."""
    with installed.absent():
        yield


@pytest.fixture(scope="module")
def no_operator_in_the_cluster(shop: Shop, request: pytest.FixtureRequest) -> None:
    """There is a shop, and no operator."""
    del shop  # which installs the chart, and so must be opened before
    request.getfixturevalue("scaled_down")


@pytest.fixture
def operator(no_operator_in_the_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator, running as a process that can be killed."""
    del no_operator_in_the_cluster
    process = OperatorProcess(tmp_path_factory.mktemp("operator"))
    try:
        process.start()
        yield process
    finally:
        process.stop()


@pytest.fixture
def proxy() -> Iterator[ApiProxy]:
    """What stands between an operator and the API server, and does harm as it is told."""
    with ApiProxy().serving() as proxy:
        yield proxy
