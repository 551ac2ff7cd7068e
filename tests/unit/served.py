"""A cluster whose API server, over real HTTP, answers as it is told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agentruns.cluster import Cluster
from aiohttp import web
from kubernetes.aio import client


@asynccontextmanager
async def served(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[Cluster]:
    """The cluster, until the end."""
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    configuration.retries = None
    cluster = Cluster(client.ApiClient(configuration), client.ApiClient(configuration))
    try:
        yield cluster
    finally:
        await cluster.close()
        await runner.cleanup()
