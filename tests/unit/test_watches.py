"""Watches over real HTTP: paced, told as signs of life, and ended by no error."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from agentruns import watches as subject
from agentruns.watches import Watches
from aiohttp import web

EVENT = b'{"type":"ADDED","object":{"kind":"Pod","metadata":{"uid":"u","resourceVersion":"7"}}}\n'
BOOKMARK = b'{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9"}}}\n'
ERROR = b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n'
WATCH = {"watch": "true"}
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Asked:
    """A session as kopf has it, before a server that answers as it is told."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def close(self) -> None:
        await self._session.close()

    async def events(self, path: str = "/pods") -> list[dict[str, Any]]:
        """What a watch tells until it ends."""
        async with self._session.get(self._url + path, params=WATCH) as response:
            assert response.status == 200
            text = b"".join([piece async for piece in response.content.iter_chunked(1)])
        return [json.loads(line) for line in text.splitlines() if line]

    async def status(self, path: str = "/pods", **params: str) -> int:
        """The status of an answer that has been read."""
        async with self._session.get(self._url + path, params=params) as response:
            await response.read()
            return response.status


@asynccontextmanager
async def asking(watches: Watches, answer: Answer) -> AsyncIterator[Asked]:
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(middlewares=(watches,)) as session:
            yield Asked(session, f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


def played(answer: Answer, scene: Callable[[Watches, Asked], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        watches = Watches(lambda *_: None)
        async with asking(watches, answer) as asked:
            await scene(watches, asked)

    asyncio.run(play())


def says(*pieces: bytes) -> Answer:
    """A stream of these pieces, that ends well."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for piece in pieces:
            await stream.write(piece)
            await asyncio.sleep(0.01)
        return stream

    return answer


def refuses(status: int, **headers: str) -> Answer:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={name.replace("_", "-"): it for name, it in headers.items()})

    return answer


async def breaks(request: web.BaseRequest) -> web.StreamResponse:
    """A stream whose connection ends in the middle."""
    stream = await says(EVENT)(request)
    assert request.transport
    request.transport.abort()
    return stream


@pytest.mark.parametrize(
    ("pieces", "taken", "types"),
    [
        ([EVENT, EVENT], 2, ["BOOKMARK", "BOOKMARK"]),
        ([EVENT[:9], EVENT[9:] + EVENT], 2, ["BOOKMARK"]),
        ([EVENT + EVENT[:-1], EVENT[-1:]], 2, ["BOOKMARK", "BOOKMARK"]),
        ([EVENT, EVENT[:9]], 1, ["BOOKMARK"]),
        ([BOOKMARK], 0, ["BOOKMARK"]),
        ([ERROR], 0, ["ERROR"]),
        ([EVENT + ERROR], 1, ["ERROR"]),
        ([EVENT, ERROR, EVENT], 1, ["BOOKMARK", "ERROR"]),
    ],
)
def test_a_watch_is_taken_in_and_kopf_told_from_where_to_go_on(
    pieces: list[bytes], taken: int, types: list[str]
) -> None:
    """Whatever error it tells has kopf list anew."""

    async def scene() -> None:
        seen = list[Any]()
        async with asking(Watches(lambda *event: seen.append(event)), says(*pieces)) as asked:
            events = await asked.events()
        assert seen == [("ADDED", json.loads(EVENT)["object"])] * taken
        assert [it["type"] for it in events] == types
        assert all(it["object"]["code"] == 410 for it in events if it["type"] == "ERROR")
        versions = [it["object"]["metadata"]["resourceVersion"] for it in events if it["type"] == "BOOKMARK"]
        assert set(versions) <= {"7", "9"}

    asyncio.run(scene())


def test_an_object_that_cannot_be_read_hides_no_other() -> None:
    async def scene() -> None:
        seen = list[Any]()

        def take(*event: Any) -> None:
            seen.append(event)
            raise KeyError("spec")

        async with asking(Watches(take), says(EVENT, EVENT)) as asked:
            assert [it["type"] for it in await asked.events()] == ["BOOKMARK", "BOOKMARK"]
        assert len(seen) == 2

    asyncio.run(scene())


@pytest.mark.parametrize("status", [400, 404, 410])
def test_an_answer_over_which_kopf_would_end_has_it_list_anew(status: int) -> None:
    async def scene(watches: Watches, asked: Asked) -> None:
        [event] = await asked.events()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        with pytest.raises(aiohttp.ClientPayloadError):
            await asked.status(limit="4")
        with pytest.raises(aiohttp.ClientPayloadError):
            await asked.status(limit="4", **{"continue": "token"})
        assert not watches.gap.is_set()
        assert await asked.status("/apis") == status

    played(refuses(status), scene)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_what_kopf_tries_again_is_left_to_it(status: int) -> None:
    async def scene(_: Watches, asked: Asked) -> None:
        assert await asked.status(watch="true") == status
        assert await asked.status(limit="4") == status

    played(refuses(status), scene)


def test_a_list_is_told_as_a_gap() -> None:
    async def scene(watches: Watches, asked: Asked) -> None:
        assert await asked.status("/apis") == 200
        assert await asked.status(limit="4", **{"continue": "token"}) == 200
        assert not watches.gap.is_set()
        assert await asked.status(limit="4") == 200
        assert watches.gap.is_set()

    played(refuses(200), scene)


async def elapsed(work: Awaitable[Any]) -> float:
    before = asyncio.get_running_loop().time()
    await work
    return asyncio.get_running_loop().time() - before


def test_what_ends_soon_again_and_again_is_asked_for_later_and_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_WAIT", 1.5)

    async def scene(_: Watches, asked: Asked) -> None:
        assert await elapsed(asked.events()) < 0.5
        assert 0.9 < await elapsed(asked.events()) < 1.4
        assert 1.4 < await elapsed(asked.events()) < 1.9
        assert await elapsed(asked.events("/others")) < 0.5
        monkeypatch.setattr(subject, "_CALM_SECONDS", 0.0)
        assert await elapsed(asked.events()) < 0.5

    played(says(), scene)


def test_a_session_that_is_closed_while_a_watch_has_to_wait_is_told_as_closed() -> None:
    """kopf closes it when one of its requests is answered by 401, and has the others ask with the next one."""

    async def scene(_: Watches, asked: Asked) -> None:
        await asked.events()
        waiting = asyncio.create_task(asked.events())
        await asyncio.sleep(0.1)
        await asked.close()
        with pytest.raises(RuntimeError, match="Session is closed"):
            await waiting

    played(says(), scene)


def test_nothing_is_asked_again_before_the_api_server_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_WAIT", 0.0)

    async def scene(_: Watches, asked: Asked) -> None:
        for query in ({"watch": "true"}, {"limit": "4"}):
            assert await elapsed(asked.status(**query)) < 0.5
            assert await elapsed(asked.status(**query)) > 0.9

    played(refuses(503, Retry_After="1"), scene)


def test_a_watch_that_is_broken_for_long_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_WAIT", 0.0)
    monkeypatch.setattr(subject, "BROKEN_SECONDS", 0.1)

    async def broken(watches: Watches, asked: Asked) -> None:
        with pytest.raises(aiohttp.ClientError):
            await asked.events()
        assert not watches.trouble
        await asyncio.sleep(0.2)
        assert watches.trouble.startswith("no watch of /pods for")
        async with asking(watches, says(EVENT)) as again:
            await again.events()
        assert not watches.trouble

    played(breaks, broken)


@pytest.mark.parametrize("status", [404, 503])
def test_a_watch_that_is_refused_for_long_is_trouble(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(subject, "BROKEN_SECONDS", 0.1)

    async def refused(watches: Watches, asked: Asked) -> None:
        await asked.status(watch="true")
        assert not watches.trouble
        await asyncio.sleep(0.2)
        assert watches.trouble.startswith("no watch of /pods for")

    played(refuses(status), refused)


def test_a_watch_of_which_nothing_is_heard_for_long_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "BROKEN_SECONDS", 0.0)
    monkeypatch.setattr(subject, "SILENT_SECONDS", 0.2)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        stream = await says(EVENT)(request)
        await asyncio.sleep(1)
        return stream

    async def scene(watches: Watches, asked: Asked) -> None:
        watching = asyncio.create_task(asked.events())
        await asyncio.sleep(0.1)
        assert not watches.trouble
        await asyncio.sleep(0.3)
        assert watches.trouble.startswith("nothing heard of /pods for")
        await watching
        assert not watches.trouble

    played(answer, scene)


def test_an_api_server_that_is_not_there_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "BROKEN_SECONDS", -1.0)

    async def scene() -> None:
        watches = Watches(lambda *_: None)
        assert watches.trouble == "nothing watched yet"
        async with aiohttp.ClientSession(middlewares=(watches,)) as session:
            with pytest.raises(aiohttp.ClientConnectionError):
                await Asked(session, "http://127.0.0.1:9").events()
        assert watches.trouble.startswith("no watch of /pods for")

    asyncio.run(scene())
