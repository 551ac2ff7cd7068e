"""What tests of the installed chart share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.shop import Shop
from tests.space import Space, opened_space, step


@pytest.fixture(scope="session", autouse=True)
def toolless(shop: Shop) -> Iterator[Space]:
    """A space whose run `toolless` waits for a Tool that never comes; begun first, since that takes two minutes."""
    with opened_space(shop) as space:
        space.start("toolless", step("first", "never-there"))
        yield space
