"""The API server as it is seen through a proxy, in which a test makes trouble between it and an operator."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.commands import kubectl

Forward = Callable[[web.Request], Awaitable[web.StreamResponse]]
Harm = Callable[[web.Request, Forward], Awaitable[web.StreamResponse]]

READS, WRITES, ALL = "GET", "POST|PUT|PATCH|DELETE", ".*"
_OF_ONE_CONNECTION = ("Host", "Content-Length", "Transfer-Encoding", "Connection")


@dataclass
class Trouble:
    """What becomes of the requests that it is about: all of these methods and paths, or the first so many."""

    harm: Harm
    methods: str = ALL
    path: str = ".*"
    times: int = 1_000_000
    hits: list[str] = field(default_factory=list)
    """The requests that it befell."""

    def befalls(self, request: web.Request) -> bool:
        """Whether this request, which it notes, is to have trouble."""
        here = re.fullmatch(self.methods, request.method) and re.search(self.path, request.path_qs)
        if not here or len(self.hits) >= self.times:
            return False
        self.hits.append(f"{request.method} {request.path_qs}")
        return True


class ApiProxy:
    """Plain HTTP on loopback in front of the cluster's API server, from a thread of its own."""

    def __init__(self) -> None:
        cluster = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=json"))["clusters"]
        self._server = cluster[0]["cluster"]["server"]
        authority = base64.b64decode(cluster[0]["cluster"]["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        self._troubles: list[Trouble] = []
        self._streams: set[asyncio.Transport] = set()
        self._silent: set[asyncio.Transport] = set()
        self._loop = asyncio.new_event_loop()
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[ApiProxy]:
        """Serves at `url`."""
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            self._on_loop(self._start())
            yield self
        finally:
            self._on_loop(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()

    @contextmanager
    def trouble(self, harm: Harm, methods: str = ALL, path: str = ".*", times: int = 1_000_000) -> Iterator[Trouble]:
        """Has the trouble until the block ends; gives what it befell."""
        trouble = Trouble(harm, methods, path, times)
        self._troubles.append(trouble)
        try:
            yield trouble
        finally:
            self._troubles.remove(trouble)

    @property
    def streams(self) -> int:
        """How many watches are open, and logs followed."""
        return len(self._streams)

    def cut_streams(self) -> None:
        """Resets the connection of every watch and every log that is being followed."""
        self._on_loop(self._cut())

    def silence_streams(self) -> None:
        """Nothing more comes on any watch that is open now, and its connection stays."""
        self._silent |= self._streams

    def _on_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        limits = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        self._session = aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=False)
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self) -> None:
        for transport in list(self._streams):
            transport.abort()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        for trouble in self._troubles:
            if trouble.befalls(request):  # type: ignore[arg-type]
                return await trouble.harm(request, self._forward)  # type: ignore[arg-type]
        return await self._forward(request)  # type: ignore[arg-type]

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        """What the API server answers."""
        headers = {name: value for name, value in request.headers.items() if name not in _OF_ONE_CONNECTION}
        body = await request.read() or None
        asked = self._session.request(request.method, self._server + request.path_qs, headers=headers, data=body)
        async with asked as answer:
            kept = {name: value for name, value in answer.headers.items() if name not in _OF_ONE_CONNECTION}
            if "watch" not in request.query and request.query.get("follow") != "true":
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
            relayed = web.StreamResponse(status=answer.status, headers=kept)
            await relayed.prepare(request)
            await self._relay(answer, relayed, request.transport)
            return relayed

    async def _relay(self, answer: aiohttp.ClientResponse, relayed: web.StreamResponse, to: Any) -> None:
        self._streams.add(to)
        try:
            async for data in answer.content.iter_any():
                if to not in self._silent:
                    await relayed.write(data)
            while to in self._silent and not to.is_closing():
                await asyncio.sleep(0.05)
        except (aiohttp.ClientError, OSError):
            to.abort()
        finally:
            self._streams.discard(to)


def says(status: int, message: str = "trouble", *, retry_after: int = 0) -> Harm:
    """The API server answers with this status."""

    async def harm(_: web.Request, __: Forward) -> web.StreamResponse:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": message}
        headers = {"Retry-After": str(retry_after)} if retry_after else {}
        return web.json_response(body, status=status, headers=headers)

    return harm


def tells(code: int) -> Harm:
    """A watch begins well and tells an error."""

    async def harm(request: web.Request, _: Forward) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        error = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "trouble"}
        await answer.write(json.dumps({"type": "ERROR", "object": error}, separators=(",", ":")).encode() + b"\n")
        return answer

    return harm


async def ends(request: web.Request, _: Forward) -> web.StreamResponse:
    """A watch begins well and ends at once."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    return answer


async def stays_silent(request: web.Request, _: Forward) -> web.StreamResponse:
    """A watch begins well and says nothing."""
    answer = await ends(request, _)
    await _given_up(request)
    return answer


async def resets(request: web.Request, _: Forward) -> web.StreamResponse:
    """The connection ends."""
    _abort(request)
    return web.Response()


async def applied_unanswered(request: web.Request, forward: Forward) -> web.StreamResponse:
    """The API server does what is asked, and its answer never comes."""
    answer = await forward(request)
    await _given_up(request)
    return answer


def held_up(over: threading.Event) -> Harm:
    """Nothing is answered until this is over, as by a node that hangs; then all is that is still waited for."""

    async def harm(request: web.Request, forward: Forward) -> web.StreamResponse:
        while not over.is_set() and not _is_given_up(request):
            await asyncio.sleep(0.05)
        return web.Response() if _is_given_up(request) else await forward(request)

    return harm


async def _given_up(request: web.Request) -> None:
    """Returns once the other side has given up waiting."""
    while not _is_given_up(request):
        await asyncio.sleep(0.05)


def _is_given_up(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
