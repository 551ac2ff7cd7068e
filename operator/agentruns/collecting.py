"""Deletes what runs shared and nobody uses any more, and forgets tasks done long ago, from time to time."""

import asyncio
import logging
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, assert_never

from agentruns.clock import utc_now
from agentruns.cluster import CLAIMS, RUNS, ApiError, Cluster, resource_named
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
from agentruns.core.naming import Key, claim_name
from agentruns.core.tasks import Claim, ClaimState, claim_manifest, read_claim
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
    """Deletes the claims of tasks of which, for as long as they are retained, no run has ended or been there."""
    for namespace in namespaces or (None,):
        try:
            for place, old in (await _old_claims(cluster, namespace, retention, now)).items():
                await _forget(cluster, place, old, now)
        except ApiError as error:
            log.warning("could not forget tasks: %s", error, extra={"namespace": namespace or ""})


@dataclass(frozen=True)
class _Old:
    """A claim that nobody is known to have counted on for a while: of its content, nothing is kept."""

    name: str
    uid: str
    resource_version: str
    expired: bool

    @property
    def as_it_is(self) -> dict[str, str]:
        """The conditions of a deletion that is for this version alone."""
        return {"uid": self.uid, "resourceVersion": self.resource_version}


async def _old_claims(
    cluster: Cluster, namespace: str | None, retention: timedelta, now: datetime
) -> dict[str, list[_Old]]:
    """By namespace, the claims that have been unused for half of their retention, or all of it."""
    found = defaultdict[str, list[_Old]](list)
    async for page, _ in cluster.pages(CLAIMS, namespace):
        for body in page:
            claim, metadata = read_claim(body), body["metadata"]
            if isinstance(claim, Claim) and claim.state is not ClaimState.IN_FLIGHT:
                unused = claim.unused_for(now)
                if unused >= retention / 2:
                    old = _Old(metadata["name"], metadata["uid"], metadata["resourceVersion"], unused >= retention)
                    found[metadata["namespace"]].append(old)
    return found


async def _forget(cluster: Cluster, namespace: str, old: list[_Old], now: datetime) -> None:
    """Deletes old claims as they were looked at, but for those of which there is a run: these are noted as used.

    The runs are listed after the claims. One that comes later, and ends by an old claim, has changed it by then.
    """
    keys = {it["spec"].get("idempotencyKey") async for runs, _ in cluster.pages(RUNS, namespace) for it in runs}
    used = {claim_name(namespace, key) for key in keys if key}
    for claim in old:
        try:
            if claim.name in used:
                await _note_use(cluster, namespace, claim, now)
            elif claim.expired:
                await cluster.delete(CLAIMS, namespace, claim.name, claim.as_it_is)
        except ApiError as error:
            if error.is_trouble_of_the_server:
                raise
            if error.status not in _CHANGED:
                log.warning("could not forget a task: %s", error, extra={"namespace": namespace})


async def _note_use(cluster: Cluster, namespace: str, old: _Old, now: datetime) -> None:
    """Notes in a claim that a run of its task is there, unless it has changed."""
    claim = read_claim(await cluster.get(CLAIMS, namespace, old.name))
    if isinstance(claim, Claim) and claim.resource_version == old.resource_version:
        await cluster.replace(claim_manifest(namespace, claim.used(now)))
