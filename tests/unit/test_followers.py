"""Following logs: a pod whose result is known has nothing more to say, and no namespace has all that there is."""

import asyncio
from typing import Any, cast

import pytest
from agentruns import results as module
from agentruns.cluster import LOG_BUFFER, Cluster
from agentruns.core.result_lines import ResultReader
from agentruns.results import LARGE, MAX_FOLLOWED, MAX_LARGE, Followers
from aiohttp import web

from tests.unit import builders
from tests.unit.builders import NAMESPACE, RUN_UID, a_result
from tests.unit.log_server import cluster_of
from tests.unit.test_queue import until
from tests.unit.test_result_lines import chunks
from tests.unit.test_store import HELD, Seen, a_pod, a_run


def pods(number: int) -> list[Any]:
    """So many pods that run."""
    return [builders.a_pod(name=f"pod-{it}", uid=f"pod-{it}") for it in range(number)]


async def followed(world: Seen) -> int:
    """How many logs are followed of a run with one pod."""
    followers = Followers(cast(Cluster, None), world.store)
    before = len(asyncio.all_tasks())
    followers.follow(NAMESPACE, RUN_UID, list(world.store.pods(RUN_UID).values()))
    begun = len(asyncio.all_tasks()) - before
    await followers.close()
    return begun


def test_a_log_is_followed_until_its_result_is_known() -> None:
    """Else a result that is no end, as long as its process lives, is read again in every pass that it causes."""
    world = Seen().take(a_run(1, steps=[HELD]), a_pod(2))
    assert asyncio.run(followed(world)) == 1
    world.store.take_result(NAMESPACE, RUN_UID, "uid-of-pod", a_result(1))
    assert asyncio.run(followed(world)) == 0


def test_the_pods_of_one_namespace_do_not_have_all_streams() -> None:
    async def scene() -> None:
        held = asyncio.Event()
        asked = list[str]()

        async def silent(request: web.BaseRequest) -> web.StreamResponse:
            asked.append(request.path.split("/")[4])
            await held.wait()
            return web.Response()

        async with cluster_of(silent) as cluster:
            followers = Followers(cluster, Seen().store)
            followers.follow("hog", RUN_UID, pods(MAX_FOLLOWED))
            followers.follow("other", RUN_UID, [builders.a_pod(uid="another")])
            tasks = list(followers._tasks.values())
            assert len(tasks) == MAX_FOLLOWED // 2 + 1
            await until(lambda: "other" in asked)
            held.set()
            await asyncio.gather(*tasks)
            followers.follow("hog", RUN_UID, pods(MAX_FOLLOWED))
            assert len(followers._tasks) == MAX_FOLLOWED // 2, "all were given back"
            await followers.close()

    asyncio.run(scene())


def test_a_namespace_that_prints_more_large_results_than_its_share_has_them_read_when_its_pods_have_ended() -> None:
    async def scene() -> None:
        held, asked = asyncio.Event(), list[str]()

        async def half_printed(request: web.BaseRequest) -> web.StreamResponse:
            name = request.path.split("/")[-2]
            asked.append(name)
            lines = chunks(b"x" * (LARGE * 2), 12_288)[:-1]
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(
                b"".join(it.replace(b"8d21c07e-1111-4222-8333-444455556666", name.encode()) for it in lines)
            )
            await held.wait()
            return answer

        async with cluster_of(half_printed) as cluster:
            followers = Followers(cluster, Seen().store)
            every = pods(MAX_LARGE)
            followers.follow("hog", RUN_UID, every)
            await until(lambda: len(followers._tasks) == MAX_LARGE // 2 and len(asked) == MAX_LARGE)
            followers.follow("hog", RUN_UID, every)
            assert len(followers._tasks) == MAX_LARGE // 2, "none is followed again"
            others = [builders.a_pod(name="other", uid="other")]
            followers.follow("other", RUN_UID, others)
            await until(lambda: "other" in asked)
            assert len(followers._tasks) == MAX_LARGE // 2 + 1
            held.set()
            await followers.close()

    asyncio.run(scene())


def test_logs_that_are_printed_without_end_are_read_no_faster_than_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_PER_SECOND", 1_000_000)
    fed = list[int]()

    class Counted(ResultReader):
        def feed(self, data: bytes, now: Any) -> Any:
            fed.append(len(data))
            return super().feed(data, now)

    monkeypatch.setattr(module, "ResultReader", Counted)

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"\n" * 65_536)

    async def scene() -> float:
        async with cluster_of(endless) as cluster:
            followers, loop = Followers(cluster, Seen().store), asyncio.get_running_loop()
            start = loop.time()
            followers.follow("hog", RUN_UID, pods(4))
            await until(lambda: sum(fed) > 500_000)
            seconds = loop.time() - start
            await followers.close()
            return seconds

    seconds = asyncio.run(scene())
    pieces = 4 * LOG_BUFFER  # each has read one before it is held up
    assert sum(fed) <= (seconds + module.AHEAD_SECONDS) * 1_000_000 + pieces
