"""Lists everything this operator reads, so that the store knows what is there and forgets what is not.

Watching alone never says that something vanished while nobody watched. Nothing is decided before the first listing.
"""

import asyncio
import logging
from typing import Final

from agentruns.cluster import APPROVALS, PODS, POLICIES, RUNS, TOOLS, ApiError, Cluster, Resource
from agentruns.core.naming import LABEL_MANAGED_BY, LABEL_RUN_UID, MANAGER
from agentruns.store import Store

EVERY_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 5.0

_SELECTORS: Final = {PODS: LABEL_RUN_UID, POLICIES: f"{LABEL_MANAGED_BY}={MANAGER}"}

log = logging.getLogger(__name__)


async def list_everything(cluster: Cluster, store: Store, namespaces: tuple[str, ...]) -> None:
    """Replaces what the store knows by what the API server has, kind by kind."""
    for resource in (TOOLS, POLICIES, PODS, APPROVALS, RUNS):
        for namespace in namespaces or (None,):
            await _list(cluster, store, resource, namespace)


async def _list(cluster: Cluster, store: Store, resource: Resource, namespace: str | None) -> None:
    listed = await cluster.list_all(resource, namespace, _SELECTORS.get(resource, ""))
    store.take_list(resource.kind, namespace, listed["items"], int(listed["metadata"]["resourceVersion"]))


async def first_listing(cluster: Cluster, store: Store, namespaces: tuple[str, ...]) -> None:
    """Lists everything, however long the API server takes to be there."""
    while True:
        try:
            return await list_everything(cluster, store, namespaces)
        except ApiError as error:
            log.warning("could not list, again in %.0f s: %s", RETRY_SECONDS, error)
            await asyncio.sleep(RETRY_SECONDS)


async def keep_listing(cluster: Cluster, store: Store, namespaces: tuple[str, ...]) -> None:
    """Lists everything from time to time, until it is cancelled."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await list_everything(cluster, store, namespaces)
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("could not list: %s", error)
