"""Lists everything this operator reads, so that the store knows what is there and forgets what is not.

Watching alone never says that something vanished while nobody watched. Nothing is decided before the first listing.
"""

import asyncio
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from agentruns.cluster import WATCHED, ApiError, Cluster, Resource
from agentruns.store import Store

EVERY_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 5.0
GATHER_SECONDS: Final = 1.0
"""Between word of a gap and the listing: one kind seldom has a gap alone."""

log = logging.getLogger(__name__)


async def list_everything(cluster: Cluster, store: Store, namespaces: tuple[str, ...]) -> None:
    """Replaces what the store knows by what the API server has, kind by kind."""
    for resource in WATCHED:
        for namespace in namespaces or (None,):
            await _list(cluster, store, resource, namespace)


async def _list(cluster: Cluster, store: Store, resource: Resource, namespace: str | None) -> None:
    uids, version = set[str](), 0
    async for items, version in cluster.pages(resource, namespace):  # noqa: B007 - the last one is that of the list
        for body in items:
            uids.add(body["metadata"]["uid"])
            try:
                store.take(resource.kind, body)
            except (ValueError, KeyError, TypeError) as error:  # one that cannot be read must not hide the others
                log.error("cannot read %s %s: %s", resource.kind, body["metadata"]["uid"], error)
    store.take_list(resource.kind, namespace, uids, version)


async def list_persistently(cluster: Cluster, store: Store, namespaces: tuple[str, ...]) -> None:
    """Lists everything, however long the API server takes to be there."""
    while True:
        try:
            with _nothing_collected():
                return await list_everything(cluster, store, namespaces)
        except ApiError as error:
            seconds = max(RETRY_SECONDS, error.retry_after)
            log.warning("could not list, again in %.0f s: %s", seconds, error)
            await asyncio.sleep(seconds)


async def keep_listing(cluster: Cluster, store: Store, namespaces: tuple[str, ...], gap: asyncio.Event) -> None:
    """Lists everything from time to time, and soon after a gap in what was watched, until it is cancelled."""
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(gap.wait(), EVERY_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)
        gap.clear()
        await list_persistently(cluster, store, namespaces)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Nothing is looked through for garbage in cycles meanwhile, nor ever what the first listing has left.

    Thousands of objects without a cycle would be looked through again and again, which takes longer than to read them.
    """
    gc.disable()
    try:
        yield
        if not gc.get_freeze_count():
            gc.freeze()
    finally:
        gc.enable()
