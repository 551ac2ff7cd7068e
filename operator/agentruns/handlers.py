"""What kopf lists and watches, turned into what is known and looked at next. The only module that knows kopf."""

import asyncio
import os
from dataclasses import replace
from functools import partial
from typing import Any, Final

import aiohttp
import kopf

from agentruns.cluster import TIMEOUT, WATCHED, Resource
from agentruns.store import Store
from agentruns.watches import MAX_WAIT, SILENT_SECONDS, WATCH_SECONDS, Watches

CONNECT_SECONDS: Final = 10
LISTED_AT_ONCE: Final = 4
"""Objects of one answer when kopf lists: a tenant's largest take 30 MB each once they are read."""
BACKOFFS: Final = (1, 1, 2, 3, 5, 8, *(MAX_WAIT,) * 10_000)
"""Seconds between tries to reach the API server: an outage of a day ends nothing."""


def register(registry: kopf.OperatorRegistry, store: Store, watches: Watches) -> None:
    """Has every object that this operator reads watched, and taken into the store as it is listed; nothing else."""
    kopf.on.login(registry=registry)(partial(_login, watches))
    for resource in WATCHED:
        _watch(registry, store, resource)


def _watch(registry: kopf.OperatorRegistry, store: Store, resource: Resource) -> None:
    group, _, version = resource.api_version.rpartition("/")

    @kopf.on.event(group, version, resource.plural, registry=registry, id=f"take-{resource.plural}")
    async def taken(event: kopf.RawEvent, **_: Any) -> None:
        store.take(resource.kind, dict(event["object"]), gone=event["type"] == "DELETED")


async def _login(watches: Watches, **kwargs: Any) -> kopf.AiohttpSession | None:
    """A session whose requests go by way of the watches."""
    info = _credentials(**kwargs)
    if info is None:
        return None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        middlewares=(watches,),
    )
    return kopf.AiohttpSession(
        server=info.server,
        aiohttp_session=session,
        default_namespace=info.default_namespace,
        priority=info.priority,
        expiration=info.expiration,
    )


def _credentials(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """The credentials of this pod's service account, or of KUBECONFIG outside a cluster."""
    account = kopf.login_with_service_account(**kwargs)
    if account is None:
        return kopf.login_with_kubeconfig(**kwargs)
    # kopf would ask for a name, which takes a cluster DNS that works; every pod is told the address.
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return replace(account, server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")


class _NoEssence(kopf.DiffBaseStorage):
    """kopf would copy every object of every event twice, to tell what has changed; nothing here asks it."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


def configure(settings: kopf.OperatorSettings) -> None:
    """Watching that ends by itself, narrow selectors, and none of kopf's own Events and annotations."""
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = settings.watching.inactivity_timeout = SILENT_SECONDS
    settings.networking.request_timeout = TIMEOUT
    settings.networking.connect_timeout = settings.watching.connect_timeout = CONNECT_SECONDS
    settings.watching.chunk_size = LISTED_AT_ONCE
    for resource in WATCHED:
        if resource.selector:
            settings.watching.label_selectors[resource.plural] = resource.selector
    settings.persistence.diffbase_storage = _NoEssence()
    settings.networking.error_backoffs = BACKOFFS
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.queueing.idle_timeout = 0.1  # seconds for which a task stays for each object: a burst would keep thousands


async def watch(store: Store, namespaces: tuple[str, ...], watches: Watches, stop: asyncio.Event) -> None:
    """Watches until it is told to stop, by the event or by a signal, upon which it sets the event."""
    registry = kopf.OperatorRegistry()
    settings = kopf.OperatorSettings()
    register(registry, store, watches)

    @kopf.on.cleanup(registry=registry)
    async def stopping(**_: Any) -> None:
        stop.set()  # kopf would let every task of this process go on for five seconds

    configure(settings)
    await kopf.operator(
        registry=registry,
        settings=settings,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )
