"""Waiting for something to become true, with a sentence if it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.cluster.console import ClusterError

T = TypeVar("T")


def until(
    found: Callable[[], T | None], what: str | Callable[[], str], seconds: float = 120, *, every: float = 0.1
) -> T:
    """The first true value; ClusterError if there is none in time, saying what was waited for or how it stood."""
    end = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > end:
            raise ClusterError(f"not within {seconds:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(every)
    return value
