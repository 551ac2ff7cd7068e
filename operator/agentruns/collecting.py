"""Deletes what runs shared and nobody uses any more, and forgets tasks done long ago, from time to time."""

import asyncio
import logging
import random
from datetime import datetime, timedelta
from typing import Final, assert_never

from agentruns.clock import utc_now
from agentruns.cluster import CLAIMS, RUNS, ApiError, Body, Cluster, resource_named
from agentruns.core.collecting import (
    Delete,
    Mark,
    Shared,
    Unmark,
    collected,
    mark_of,
    names_for,
    used_by,
    with_mark,
)
from agentruns.core.naming import Key
from agentruns.core.tasks import Claim, may_be_deleted, read_claim
from agentruns.store import Store

EVERY: Final = 600.0
"""Seconds between two sweeps, at most."""
FORGET_EVERY: Final = 3600.0
"""Seconds between two looks for claims that may be forgotten, at most."""
_CHANGED: Final = (404, 409, 422)
"""Answers that say that something is not any more what was looked at."""

log = logging.getLogger(__name__)


async def keep_collecting(cluster: Cluster, store: Store) -> None:
    """Sweeps from time to time, until it is cancelled."""
    while True:
        await asyncio.sleep(EVERY * random.uniform(0.5, 1))
        await sweep(cluster, store, utc_now())


async def sweep(cluster: Cluster, store: Store, now: datetime) -> None:
    """Marks and deletes what nobody uses; runs are only listed where, as far as is known, there is such a thing."""
    known = store.shared()
    hopeful = collected(known, _used_as_known(store), now)
    for namespace in sorted({action.what.namespace for action in hopeful}):
        here = [it for it in known if it.namespace == namespace]
        try:
            await _sweep(cluster, store, here, now)
        except ApiError as error:
            log.warning("could not collect: %s", error, extra={"namespace": namespace})


async def _sweep(cluster: Cluster, store: Store, known: list[Shared], now: datetime) -> None:
    """One namespace; the runs are listed after what is `known` was seen, and only that version of it is deleted."""
    namespace = known[0].namespace
    used = set[Key]()
    async for runs, _ in cluster.pages(RUNS, namespace):
        names = used_by(runs)
        if names is None:
            return
        used |= {(namespace, name) for name in names}
    for action in collected(known, used, now):
        try:
            await _perform(cluster, store, action)
        except ApiError as error:
            if error.status not in _CHANGED:
                raise


async def _perform(cluster: Cluster, store: Store, action: Mark | Unmark | Delete) -> None:
    what = action.what
    resource, place = resource_named(what.kind), (what.namespace, what.name)
    match action:
        case Mark():
            await _change(cluster, store, what, mark_of(action.since))
        case Unmark():
            await _change(cluster, store, what, None)
        case Delete():
            await cluster.delete(resource, *place, {"uid": what.uid, "resourceVersion": what.resource_version})
            store.forget(what.uid)
            log.info("deleted %s %s, which nobody used", what.kind, what.name, extra={"namespace": what.namespace})
        case unreachable:
            assert_never(unreachable)


async def _change(cluster: Cluster, store: Store, what: Shared, mark: str | None) -> None:
    """Marks or unmarks what is as it was looked at; the API server refuses it if it has changed since."""
    found = await cluster.get(resource_named(what.kind), what.namespace, what.name)
    version = {"uid": what.uid, "resourceVersion": what.resource_version}
    store.take(what.kind, await cluster.replace(with_mark(found, mark, **version)))


def _used_as_known(store: Store) -> set[Key]:
    """Namespace and name of all that the known unfinished runs use."""
    return {
        (run.metadata.namespace, name)
        for run in store.runs.values()
        if not run.is_final
        for pin in run.status.tools
        for name in names_for(pin.revision)
    }


async def keep_forgetting(cluster: Cluster, namespaces: tuple[str, ...], retention: timedelta) -> None:
    """Forgets tasks done long ago from time to time, until it is cancelled."""
    while True:
        await asyncio.sleep(FORGET_EVERY * random.uniform(0.5, 1))
        await forget_tasks(cluster, namespaces, retention, utc_now())


async def forget_tasks(cluster: Cluster, namespaces: tuple[str, ...], retention: timedelta, now: datetime) -> None:
    """Deletes the claims of tasks that were finished longer ago than they are retained."""
    for namespace in namespaces or (None,):
        try:
            async for page, _ in cluster.pages(CLAIMS, namespace):
                for body in page:
                    await _forget(cluster, body, retention, now)
        except ApiError as error:
            log.warning("could not forget tasks: %s", error, extra={"namespace": namespace or ""})


async def _forget(cluster: Cluster, body: Body, retention: timedelta, now: datetime) -> None:
    """Deletes a claim if it may go, as it was looked at: one that a run has taken over meanwhile stays."""
    claim, metadata = read_claim(body), body["metadata"]
    if not isinstance(claim, Claim) or not may_be_deleted(claim, retention, now):
        return
    conditions = {key: metadata[key] for key in ("uid", "resourceVersion")}
    try:
        await cluster.delete(CLAIMS, metadata["namespace"], metadata["name"], conditions)
    except ApiError as error:
        if error.status not in _CHANGED:
            raise
