"""What kopf asks of the API server, on its way there and back: paced, taken in, and told as signs of life.

kopf asks again at once when a watch ends, and ends itself over answers that pass: both are put right here. What a watch
tells is taken in on its way, since kopf spends more computing on an event than all that follows from it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientError, ClientHandlerType, ClientPayloadError, ClientRequest, ClientResponse

from agentruns.cluster import retry_after

WATCH_SECONDS: Final = 30
"""For which a watch is open; a bookmark comes shortly before its end, so that one in order is never silent for long."""
SILENT_SECONDS: Final = WATCH_SECONDS + 10
"""Of silence, after which a watch is dead, and opened anew."""
BROKEN_SECONDS: Final = 10
"""For which a watch may be broken, or its silence go on, before it counts as trouble."""
MAX_WAIT: Final = 10.0
_CALM_SECONDS: Final = 15.0
_KOPF_TRIES_AGAIN: Final = (401, 403, 429)
_GONE: Final = b'{"type":"ERROR","object":{"kind":"Status","code":410}}\n'
"""What has kopf list everything again and watch from there on."""

log = logging.getLogger(__name__)


@dataclass
class _Pace:
    """When something was last asked for, and how long to wait since it ends soon again and again."""

    at: float = float("-inf")
    wait: float = 0.0
    not_before: float = float("-inf")

    async def turn(self) -> None:
        """Returns at once after a calm while; else later and later, and never before the API server wants it."""
        now = _now()
        self.wait = min(max(2 * self.wait, 1.0), MAX_WAIT) if now - self.at < _CALM_SECONDS else 0.0
        await asyncio.sleep(max(self.at + self.wait, self.not_before) - now)
        self.at = _now()


@dataclass
class _Signs:
    """The signs of life of a watch."""

    heard: float
    broken_since: float | None = None

    def hear(self) -> None:
        self.heard, self.broken_since = _now(), None

    def broken(self) -> None:
        self.broken_since = self.broken_since or _now()


class Watches:
    """Middleware of kopf's HTTP session, which may have several over time."""

    def __init__(self, take: Callable[[str, dict[str, Any]], None]) -> None:
        """`take` is called with the type of each event and its object."""
        self._take = take
        self._paces: dict[str, _Pace] = {}
        self._signs: dict[str, _Signs] = {}
        self.gap = asyncio.Event()
        """Set when kopf lists anew, which says nothing of what has vanished before."""

    @property
    def trouble(self) -> str:
        """Why what happens in the cluster is not seen, in a few words; empty if it is seen."""
        now = _now()
        if not self._signs:
            return "nothing watched yet"
        for path, signs in self._signs.items():
            if signs.broken_since is not None and now - signs.broken_since > BROKEN_SECONDS:
                return f"no watch of {path} for {now - signs.broken_since:.0f} s"
            if now - signs.heard > SILENT_SECONDS + BROKEN_SECONDS:
                return f"nothing heard of {path} for {now - signs.heard:.0f} s"
        return ""

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """The answer to one of kopf's requests."""
        path, query = request.url.path, request.url.query
        if "watch" in query:
            return await self._watch(path, request, handler)
        if "limit" in query:
            return await self._list(path, request, handler, first="continue" not in query)
        return await self._paced(path, request, handler)

    async def _list(
        self, path: str, request: ClientRequest, handler: ClientHandlerType, *, first: bool
    ) -> ClientResponse:
        if first:
            response = await self._paced(f"list {path}", request, handler)
        else:
            response = await handler(request)
        if response.status == 200 and first:
            self.gap.set()
        if _is_final(response.status):
            raise ClientPayloadError(f"{response.status} to a list of {path}")  # has kopf begin the list anew
        return response

    async def _watch(self, path: str, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        signs = self._signs.setdefault(path, _Signs(_now()))
        try:
            response = await self._paced(f"watch {path}", request, handler)
        except (ClientError, OSError):
            signs.broken()
            raise
        if response.status != 200:
            signs.broken()
        if _is_final(response.status):
            log.warning("%d to a watch of %s: listing anew", response.status, path)
            await response.read()
            response.status, response.content = 200, _Body(response.content, _gone())  # type: ignore[assignment]
        elif response.status == 200:
            signs.broken_since = None
            response.content = _Body(response.content, self._events(response.content, signs))  # type: ignore[assignment]
        return response

    async def _events(self, content: Any, signs: _Signs) -> AsyncIterator[bytes]:
        """Takes in the events of a watch; kopf is told the version to go on from, or after an error to list anew."""
        begun = b""
        try:
            async for data in content.iter_any():
                *lines, begun = (begun + data).split(b"\n")
                version = ""
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        said = line[:300].decode(errors="replace")
                        log.warning("a watch ended with an error: listing anew: %s", said)
                        yield _GONE
                        return
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._take_in(event)
                signs.hear()
                if version:
                    yield _bookmark(version)
                await asyncio.sleep(0)  # others go on, however much there is
            signs.hear()
        except (ClientError, OSError):
            signs.broken()
            raise

    def _take_in(self, event: dict[str, Any]) -> None:
        if event["type"] == "BOOKMARK":
            return
        try:
            self._take(event["type"], event["object"])
        except (ValueError, KeyError, TypeError) as error:  # one that cannot be read must not hide the others
            log.error("cannot read %s: %s", event["object"]["metadata"].get("uid"), error)

    async def _paced(self, what: str, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        pace = self._paces.setdefault(what, _Pace())
        await pace.turn()
        if request.session.closed:
            raise RuntimeError("Session is closed")  # as aiohttp says it, which has kopf ask with its new one
        response = await handler(request)
        pace.not_before = _now() + retry_after(response)
        return response


class _Body:
    """The body of an answer, of which kopf is given other pieces than came."""

    def __init__(self, content: Any, pieces: AsyncIterator[bytes]) -> None:
        self._content, self._pieces = content, pieces

    def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        return self._pieces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)  # which the response itself asks


async def _gone() -> AsyncIterator[bytes]:
    yield _GONE


def _bookmark(version: str) -> bytes:
    event = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
    return json.dumps(event).encode() + b"\n"


def _is_final(status: int) -> bool:
    """Whether kopf would end itself over this answer."""
    return 400 <= status < 500 and status not in _KOPF_TRIES_AGAIN


def _now() -> float:
    return asyncio.get_running_loop().time()
