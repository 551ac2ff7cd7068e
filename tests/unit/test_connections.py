"""Connections to the API server: what hangs takes none that others need, least of all from the Lease."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from agentruns import leadership
from agentruns.cluster import CONFIG_MAPS, CONNECTIONS, Cluster
from agentruns.leadership import Leadership
from aiohttp import web
from kubernetes.aio.config import kube_config

from tests.unit.log_server import serving
from tests.unit.test_queue import until


class ApiServer:
    """Answers what is asked of the Lease, and of one ConfigMap; whatever else is asked hangs."""

    def __init__(self) -> None:
        self.hanging = 0
        self.renewals = 0
        self._lease: dict[str, object] | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/configmaps/there"):
            return web.json_response({"kind": "ConfigMap"})
        if "/leases" in request.path:
            return await self._of_lease(request)
        self.hanging += 1
        await asyncio.Event().wait()
        return web.Response()

    async def _of_lease(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "GET":
            self._lease = json.loads(await request.read())
            self.renewals += 1
        return web.json_response(self._lease or {}, status=200 if self._lease else 404)


@asynccontextmanager
async def connected(server: ApiServer, place: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """The cluster as the operator connects to it, outside of one."""
    async with serving(server) as url:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        (place / "config").write_text(json.dumps(config))
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(place / "config"))
        cluster = await Cluster.connect()
        try:
            yield cluster
        finally:
            await cluster.close()


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_logs_that_hang_hold_up_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        server = ApiServer()
        async with connected(server, tmp_path, monkeypatch) as cluster:

            async def reads(number: int) -> None:
                async with cluster.pod_log("shop", f"pod-{number}", "tool", follow=False):
                    pass

            reading = [asyncio.create_task(reads(number)) for number in range(2 * CONNECTIONS)]
            await until(lambda: server.hanging == 2 * CONNECTIONS)
            async with asyncio.timeout(5):
                assert await cluster.get(CONFIG_MAPS, "shop", "there")
            await _ended(reading)

    asyncio.run(scene())


def test_requests_that_hang_hold_up_no_renewal_of_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "RETRY_SECONDS", 0.01)

    async def scene() -> None:
        server = ApiServer()
        async with connected(server, tmp_path, monkeypatch) as cluster:

            async def gets() -> None:
                await cluster.get(CONFIG_MAPS, "shop", "hangs")

            getting = [asyncio.create_task(gets()) for _ in range(2 * CONNECTIONS)]
            await until(lambda: server.hanging == CONNECTIONS)
            leads = await Leadership.connect("agentruns", "pod")
            async with asyncio.timeout(5):
                await leads.acquired()
            keeping = asyncio.create_task(leads.keep())
            await until(lambda: server.renewals > 3)
            await _ended([*getting, keeping])
            await leads.release()

    asyncio.run(scene())
