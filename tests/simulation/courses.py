"""The courses of many seeds, on all cores."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

from tests.simulation.simulation import Course, simulated


@contextmanager
def courses(
    seeds: range, habits: frozenset[str] = frozenset(), *, harsh: bool = False, traced: bool = False
) -> Iterator[Iterator[Course]]:
    """One course after the other, as they come to their end; the processes have what the test has patched."""
    with get_context("fork").Pool() as pool:
        one = partial(simulated, habits=habits, harsh=harsh, traced=traced)
        yield pool.imap_unordered(one, seeds, chunksize=4)
