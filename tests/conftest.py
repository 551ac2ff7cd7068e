"""What tests on a real cluster share."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.cluster.places import KUBECONFIG
from tests.release import alone
from tests.shop import Shop, opened
from tests.space import Space, opened_space


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    """A namespace with accounts and a run, on a cluster that has the chart installed."""
    if not KUBECONFIG.exists():
        pytest.exit(f"no cluster at {KUBECONFIG}: make install", returncode=1)
    with alone(), opened(f"shop-{uuid4().hex[:8]}") as shop:
        yield shop


@pytest.fixture
def space(shop: Shop) -> Iterator[Space]:
    """A namespace of one test."""
    with opened_space(shop) as space:
        yield space


@pytest.fixture(scope="module")
def shared_space(shop: Shop) -> Iterator[Space]:
    """A namespace of all tests of a module."""
    with opened_space(shop) as space:
        yield space
