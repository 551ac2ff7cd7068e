"""What tests of the API server share."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from .shop import Shop, opened


@pytest.fixture(scope="package")
def shop() -> Iterator[Shop]:
    """A namespace with accounts and a run, on a cluster that has the chart installed."""
    with opened(f"shop-{uuid4().hex[:8]}") as shop:
        yield shop
