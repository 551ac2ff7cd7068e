"""Namespaces of the benchmark's own, and many objects at once in them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from agentruns.cluster import PODS, Body, Cluster

from tests.bench import manifests
from tests.fake_node import FOREVER
from tests.images import sandbox_image

_AT_ONCE: Final = 50
_EVERY_POD: Final = replace(PODS, selector="")


@asynccontextmanager
async def namespace(cluster: Cluster, *, emptied: bool = False) -> AsyncIterator[str]:
    """A namespace with the Tools one, asking and endless; deleted afterwards, and waited for if its pods must go."""
    name, image = f"bench-{secrets.token_hex(3)}", sandbox_image()
    await cluster._call("POST", "/api/v1/namespaces", manifests.namespace(name))
    await cluster.create(manifests.tool(name, image))
    await cluster.create(manifests.tool(name, image, "Always", "asking"))
    endless = manifests.tool(name, image, name="endless")
    await cluster.create(endless | {"spec": endless["spec"] | {"command": [FOREVER], "timeout": "6h"}})
    try:
        yield name
    finally:
        await cluster._call("DELETE", f"/api/v1/namespaces/{name}")
    async with asyncio.timeout(300):
        while emptied and [it async for page, _ in cluster.pages(_EVERY_POD, name) for it in page]:
            await asyncio.sleep(1)


async def created(cluster: Cluster, bodies: list[Body]) -> None:
    """Returns once all of these are stored; many are asked for at once."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def create(body: Body) -> None:
        async with gate:
            await cluster.create(body)

    await asyncio.gather(*(create(body) for body in bodies))
