"""The way between one operator's process and the API server: every request takes its time, and may be lost on it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl

import aiohttp

from tests.simulation.world.api import Refused, Request, encoded, request
from tests.simulation.world.container import Container
from tests.simulation.world.kubelet import Kubelet
from tests.simulation.world.world import World

TIMEOUT = 20.0


class Response:
    """An answer as the client's transport gives it."""

    def __init__(self, status: int, content: Any, reason: str = "") -> None:
        self.status, self.body, self.reason = status, content, reason
        self.content = content if isinstance(content, LogStream) else Whole(content)
        self.headers: dict[str, str] = {}
        self.response = self

    async def read(self) -> bytes:
        """The whole answer."""
        return bytes(self.body)

    async def text(self) -> str:
        """The whole answer as text."""
        return bytes(self.body).decode()

    def close(self) -> None:
        """The connection is not needed any more."""


class Whole:
    """An answer as a stream of one piece."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def iter_any(self) -> AsyncIterator[bytes]:
        """All of it."""
        yield self._content


class Configuration:
    """What the client asks of its configuration."""

    host = ""


class Process:
    """An operator's process as the world sees it: alive, stopped for a while, or dead. What it waits for is held."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dead = False
        self.frozen = False
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def reaches(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Something comes in or goes out: now, when the process is woken, or never."""
        if self.frozen:
            self._held.append((callback, arguments))
        else:
            callback(*arguments)

    def wake(self) -> None:
        """The process goes on where it stood."""
        self.frozen = False
        held, self._held = self._held, []
        for callback, arguments in held:
            self._world.later(self._world.delay(), self.reaches, callback, *arguments)


class Connection:
    """What stands where the client's ApiClient would: its transport, and nothing else of it."""

    def __init__(self, world: World, kubelet: Kubelet, process: Process, calls: Callable[[], None]) -> None:
        """`calls` is told each request when it is about to be sent, when a process may well be killed."""
        self._world, self._kubelet, self._process, self._calls = world, kubelet, process, calls
        self.configuration = Configuration()
        self.rest_client = self

    async def update_params_for_auth(self, *_: Any) -> None:
        """Nobody asks who is there."""

    async def close(self) -> None:
        """Nothing is kept open."""

    async def request(self, method: str, url: str, *, body: Any, **_: Any) -> Response:
        """The answer to a request, after a while; raises as the client's transport does."""
        path, mark, query = url.partition("?")
        del mark
        asked = request(method, path, dict(parse_qsl(query)), body)
        self._calls()
        answered: asyncio.Future[Response] = self._world.loop.create_future()
        self._world.later(self._delay(), self._process.reaches, self._arrives, asked, answered)
        return await answered

    def _delay(self) -> float:
        return self._world.delay(5.0 if self._world.habits.strikes("slow requests") else 0.01)

    def _arrives(self, asked: Request, answered: asyncio.Future[Response]) -> None:
        """The request reaches the API server, or not; a process that was killed may have sent it before."""
        world = self._world
        if self._process.dead and world.random.random() < 0.5:
            return
        what = f"{asked.method} {asked.plural}/{_name(asked)}"
        if world.habits.strikes("request lost"):
            world.note(f"lost {what}")
            self._answers(answered, TimeoutError(), TIMEOUT)
            return
        if world.habits.strikes("server error"):
            world.note(f"server error on {what}")
            self._answers(answered, _refusal(world.random.choice(_SERVER_ERRORS)), self._delay())
            return
        answer = self._answer(asked)
        world.note(f"{what} {asked.subresource} -> {answer.status} {answer.reason}")
        if asked.method != "GET" and world.habits.strikes("applied but timed out"):
            if asked.method == "POST" and asked.plural == "pods" and answer.status == 200:
                world.unanswered.add(json.loads(answer.body)["metadata"]["uid"])
            self._answers(answered, TimeoutError(), TIMEOUT)
            return
        self._answers(answered, answer, self._delay())

    def _answer(self, asked: Request) -> Response:
        try:
            if asked.subresource == "log":
                follow = asked.query["follow"] == "true"
                return Response(
                    200, LogStream(self._world, self._kubelet.container(asked.namespace, asked.name), follow=follow)
                )
            return Response(200, encoded(self._world.api.answer(asked)))
        except Refused as refused:
            return _refusal(refused)

    def _answers(self, answered: asyncio.Future[Response], answer: Response | Exception, seconds: float) -> None:
        self._world.later(seconds, self._process.reaches, _set, answered, answer)


def _name(asked: Request) -> str:
    return asked.name or (str(asked.body["metadata"]["name"]) if asked.method == "POST" else "")


def _set(answered: asyncio.Future[Response], answer: Response | Exception) -> None:
    if answered.done():
        return
    if isinstance(answer, Response):
        answered.set_result(answer)
    else:
        answered.set_exception(answer)


_SERVER_ERRORS = (
    Refused(500, "InternalError", "etcdserver: leader changed"),
    Refused(429, "TooManyRequests", "the server has received too many requests"),
    Refused(503, "ServiceUnavailable", "apiserver is shutting down"),
    Refused(504, "Timeout", "request did not complete within requested timeout"),
)


def _refusal(refused: Refused) -> Response:
    return Response(refused.code, encoded(refused.body()), refused.reason)


class LogStream:
    """The log of a container, as far as it was printed; with `follow`, until the container has ended."""

    def __init__(self, world: World, container: Container, *, follow: bool) -> None:
        self._world, self._container, self._follow = world, container, follow
        self._read = 0

    async def read(self, size: int) -> bytes:
        """What comes next; nothing at the end."""
        del size
        if self._world.habits.strikes("log stream broken"):
            raise aiohttp.ClientPayloadError("the connection was closed")
        while self._follow and self._read >= len(self._container.log) and not self._container.ended:
            await self._container.news()
        await asyncio.sleep(self._world.delay())
        data = self._container.log[self._read :]
        self._read = len(self._container.log)
        return bytes(data)
