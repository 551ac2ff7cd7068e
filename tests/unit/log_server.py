"""A server that answers as an API server does of which nothing but logs is asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agentruns.cluster import Cluster
from aiohttp import web
from kubernetes.aio import client

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """The URL of a server that answers so; an answer that nobody waits for any more is cancelled."""
    runner = web.ServerRunner(web.Server(answer, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def cluster_of(answer: Answer) -> AsyncIterator[Cluster]:
    """A cluster whose API server answers so."""
    async with serving(answer) as url:
        configuration = client.Configuration(host=url)
        configuration.retries, configuration.connection_pool_maxsize = None, 0
        cluster = Cluster(client.ApiClient(configuration), client.ApiClient(configuration))
        try:
            yield cluster
        finally:
            await cluster.close()


class Node:
    """Gives the logs of its pods, by their names; those that are called slow, or half of them, only once it goes on."""

    def __init__(self, **logs: bytes) -> None:
        self.logs = logs
        self.asked: list[str] = []
        self.held: set[str] = set()
        """The pods whose logs are waited for."""
        self.goes_on = asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.split("/")[-2]
        self.asked.append(name)
        if name not in self.logs:
            return web.Response(status=404, text="gone")
        if name.startswith("slow"):
            await self._goes_on(name)
        answer = web.StreamResponse()
        await answer.prepare(request)
        half = len(self.logs[name]) // 2
        await answer.write(self.logs[name][:half])
        if name.startswith("half"):
            await self._goes_on(name)
        await answer.write(self.logs[name][half:])
        return answer

    async def _goes_on(self, name: str) -> None:
        self.held.add(name)
        try:
            await self.goes_on.wait()
        finally:
            self.held.discard(name)
