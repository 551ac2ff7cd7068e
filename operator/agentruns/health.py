"""Liveness and readiness over HTTP, both about progress and not about being there."""

import time
from typing import Final

from aiohttp import web

from agentruns.queue import Queue

STUCK_SECONDS: Final = 120.0


class Health:
    """What the probes ask: is everything listed, and do passes end while runs wait for one?"""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.listed = False

    async def serve(self, port: int) -> web.AppRunner:
        """Serves /healthz and /readyz until the runner is cleaned up."""
        app = web.Application()
        app.add_routes([web.get("/healthz", self._live), web.get("/readyz", self._ready)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, port=port).start()
        return runner

    async def _live(self, _: web.Request) -> web.Response:
        waiting_since = self._queue.waiting_since
        stuck = waiting_since is not None and time.monotonic() - waiting_since > STUCK_SECONDS
        return web.Response(status=500 if stuck else 200, text="no pass ends\n" if stuck else "ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.listed else 503, text="ok\n" if self.listed else "not listed yet\n")
