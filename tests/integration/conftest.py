"""What tests share that kill the operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import installed
from tests.commands import kubectl
from tests.integration.operator_process import OperatorProcess
from tests.shop import Shop
from tests.waiting import until


@pytest.fixture(scope="module")
def no_operator_in_the_cluster(shop: Shop) -> Iterator[None]:
    """The installed operator has gone, until the end of the module."""
    del shop  # which installs the chart, and so must be opened before
    kubectl("scale", *installed.DEPLOYMENT, "--replicas=0")
    try:
        until(lambda: not installed.pod_names(), "the operator's pod is gone")
        yield
    finally:
        kubectl("scale", *installed.DEPLOYMENT, "--replicas=1")
        installed.rolled_out()


@pytest.fixture
def operator(no_operator_in_the_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator, running as a process that can be killed."""
    del no_operator_in_the_cluster
    process = OperatorProcess(tmp_path_factory.mktemp("operator"))
    try:
        process.start()
        yield process
    finally:
        process.kill()
