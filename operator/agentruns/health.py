"""Liveness and readiness over HTTP, both about progress and not about being there."""

import time
from typing import Final

from aiohttp import web

from agentruns.queue import Queue
from agentruns.watches import Watches

STUCK_SECONDS: Final = 120.0


class Health:
    """What the probes ask: is everything listed and seen, and do passes end while runs wait for one?"""

    def __init__(self, queue: Queue, watches: Watches) -> None:
        self._queue, self._watches = queue, watches
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
        stuck = stuck and not self._watches.trouble  # starting anew does not help an API server
        return web.Response(status=500 if stuck else 200, text="no pass ends\n" if stuck else "ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        wrong = self._watches.trouble if self.listed else "not listed yet"
        return web.Response(status=503 if wrong else 200, text=f"{wrong or 'ok'}\n")
