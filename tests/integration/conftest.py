"""What tests share that kill the operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.operator_process import OperatorProcess
from tests.integration.shop import SYSTEM, Shop
from tests.space import kubectl
from tests.waiting import until

DEPLOYMENT = ("deployment/agentruns-operator", f"--namespace={SYSTEM}")


@pytest.fixture(scope="module")
def no_operator_in_the_cluster(shop: Shop) -> Iterator[None]:
    """The installed operator has gone, until the end of the module."""
    del shop  # which installs the chart, and so must be opened before
    pods = ("get", "pods", f"--namespace={SYSTEM}", "--selector=app.kubernetes.io/component=operator", "--output=name")
    kubectl("scale", *DEPLOYMENT, "--replicas=0")
    try:
        until(lambda: not kubectl(*pods), "the operator's pod is gone")
        yield
    finally:
        kubectl("scale", *DEPLOYMENT, "--replicas=1")
        kubectl("rollout", "status", *DEPLOYMENT, "--timeout=120s")


@pytest.fixture
def operator(no_operator_in_the_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator, running as a process that can be killed."""
    del no_operator_in_the_cluster
    process = OperatorProcess(tmp_path_factory.mktemp("operator"))
    process.start()
    try:
        yield process
    finally:
        process.kill()
