"""A watch of the API server, as tests follow it."""

import json
from collections.abc import AsyncIterator
from typing import Final

from agentruns.cluster import Body, Cluster, Resource

_LINE: Final = 2**23
"""Bytes of one line: an object is at most some 1.5 MiB."""


async def watch(
    cluster: Cluster, resource: Resource, namespace: str | None, version: str, selected: Body | None = None
) -> AsyncIterator[Body]:
    """Every object of a kind, or every selected one, as it changes from this version on."""
    async for _, body in events(cluster, resource, namespace, version, selected):
        yield body


async def events(
    cluster: Cluster, resource: Resource, namespace: str | None, version: str, selected: Body | None = None
) -> AsyncIterator[tuple[str, Body]]:
    """What happened to objects of a kind from this version on (ADDED, MODIFIED, DELETED), and what they are then.

    The API server ends a watch whose reader is slow for a moment; it is opened again where it ended.
    """
    while True:
        query = {"watch": "true", "resourceVersion": version} | (selected or {})
        response = await cluster._request("GET", resource.path(namespace), query=query, timeout=None)
        try:
            while line := await response.content.readline(max_line_length=_LINE):
                event = json.loads(line)
                body = event["object"]
                version = body["metadata"]["resourceVersion"]
                yield event["type"], body
        finally:
            response.close()
