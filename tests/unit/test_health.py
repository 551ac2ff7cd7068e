"""The probes, asked over HTTP."""

import asyncio

import aiohttp
import pytest
from agentruns import health
from agentruns.health import Health
from agentruns.queue import Queue
from agentruns.watches import Watches


async def answers(of: Health) -> tuple[int, int]:
    """What /healthz and /readyz say."""
    runner = await of.serve(0)
    try:
        port = next(address[1] for address in runner.addresses if len(address) == 2)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/healthz") as live:
                pass
            async with session.get(f"http://127.0.0.1:{port}/readyz") as ready:
                pass
        return live.status, ready.status
    finally:
        await runner.cleanup()


async def _work(_: tuple[str, str]) -> None: ...


def _unseen(*_: object) -> None: ...


class Seeing(Watches):
    """Watches that see everything."""

    trouble = ""


class Blind(Watches):
    """Watches that see nothing."""

    trouble = "no watch of /pods for 60 s"


def test_it_is_ready_when_everything_is_listed() -> None:
    async def scene() -> None:
        probed = Health(Queue(_work, lambda *_: None), Seeing(_unseen))
        assert await answers(probed) == (200, 503)
        probed.listed = True
        assert await answers(probed) == (200, 200)

    asyncio.run(scene())


async def begun(queue: Queue) -> None:
    """Returns once a queue works, which goes on until the end of the scene."""
    working = asyncio.create_task(queue.run())
    await asyncio.wait([working], timeout=0.01)


def test_it_is_alive_unless_runs_wait_and_no_pass_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        queue = Queue(_work, lambda *_: None, workers=0)
        queue.add(("shop", "run"))
        monkeypatch.setattr(health, "STUCK_SECONDS", -1.0)
        assert await answers(Health(queue, Seeing(_unseen))) == (200, 503), "one that stands by need not work"
        await begun(queue)
        assert await answers(Health(queue, Seeing(_unseen))) == (500, 503)
        monkeypatch.setattr(health, "STUCK_SECONDS", 120.0)
        assert await answers(Health(queue, Seeing(_unseen))) == (200, 503)
        monkeypatch.setattr(health, "STUCK_SECONDS", -1.0)
        assert await answers(Health(Queue(_work, lambda *_: None), Seeing(_unseen))) == (200, 503)

    asyncio.run(scene())


def test_an_api_server_in_trouble_is_told_by_readiness_and_not_by_liveness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another start would not help it, and the first of them would find nothing listed."""
    monkeypatch.setattr(health, "STUCK_SECONDS", -1.0)

    async def scene() -> None:
        queue = Queue(_work, lambda *_: None, workers=0)
        queue.add(("shop", "run"))
        await begun(queue)
        blind = Health(queue, Blind(_unseen))
        blind.listed = True
        assert await answers(blind) == (200, 503)

    asyncio.run(scene())
