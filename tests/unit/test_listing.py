"""Lists over real HTTP: few pages of what is small, small pages of what is large, and one page at a time."""

import asyncio
import gc
import json
from typing import Any

import pytest
from agentruns.cluster import LARGEST_PAGE, ONLY_METADATA, PAGE, PAGE_BYTES, RUNS, TOOLS, Cluster
from agentruns.listing import list_persistently
from agentruns.store import Store
from aiohttp import web

from tests.unit.served import served

SMALL = "x" * 2_000
HEAVY = "x" * 1_400_000
DENSE = [[0]] * 100_000


class Shelf:
    """Objects that are listed as the API server does, in chunks, and what was asked."""

    def __init__(self, *contents: Any) -> None:
        self._contents = contents
        self.limits, self.accepted = list[int](), set[str]()
        self.collected = list[bool]()
        self.at_once = self.most_at_once = self.sent_whole = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """A page."""
        self.at_once += 1
        self.collected.append(gc.isenabled())
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._listed(request)
        finally:
            self.at_once -= 1

    async def _listed(self, request: web.BaseRequest) -> web.StreamResponse:
        limit, start = int(request.query["limit"]), int(request.query.get("continue", 0))
        self.limits.append(limit)
        self.accepted.add(request.headers["Accept"])
        end = min(start + limit, len(self._contents))
        metadata = {"resourceVersion": "7", "continue": str(end) if end < len(self._contents) else ""}
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"metadata":' + json.dumps(metadata).encode() + b',"items":[')
        try:
            for place in range(start, end):
                body = {"metadata": {"uid": str(place)}, "spec": self._contents[place]}
                await response.write(b"," * (place > start) + json.dumps(body, separators=(",", ":")).encode())
            await response.write(b"]}")
            await response.write_eof()
            self.sent_whole += 1
        except ConnectionError:
            pass  # whoever asked has seen enough
        return response


async def listed(cluster: Cluster) -> list[list[str]]:
    """The UIDs of all runs, page by page."""
    return [[it["metadata"]["uid"] for it in page] async for page, _ in cluster.pages(RUNS)]


def pages_of(shelf: Shelf) -> list[list[str]]:
    async def scene() -> list[list[str]]:
        async with served(shelf.answer) as cluster:
            return await listed(cluster)

    return asyncio.run(scene())


def test_what_is_small_is_listed_in_a_few_large_pages() -> None:
    shelf = Shelf(*[SMALL] * 2_000)
    assert [uid for page in pages_of(shelf) for uid in page] == [str(n) for n in range(2_000)]
    assert shelf.limits == [PAGE, 128, 256, *[LARGEST_PAGE] * 4]


@pytest.mark.parametrize("content", [HEAVY, DENSE])
def test_no_page_has_more_than_others_can_spare(content: Any) -> None:
    shelf = Shelf(*[SMALL] * 500, *[content] * 9)
    pages = pages_of(shelf)
    assert [uid for page in pages for uid in page] == [str(n) for n in range(509)]
    assert max(sum(int(uid) >= 500 for uid in page) for page in pages) == 2


def test_no_more_is_read_of_an_answer_once_it_is_too_long() -> None:
    shelf = Shelf(*[HEAVY] * 50)
    assert sum(map(len, pages_of(shelf))) == 50
    assert shelf.limits[:3] == [64, 16, 4]
    assert shelf.sent_whole <= len(shelf.limits) - 2


def test_what_is_larger_than_a_page_comes_alone() -> None:
    assert pages_of(Shelf("x" * PAGE_BYTES, "x" * PAGE_BYTES, SMALL)) == [["0"], ["1"], ["2"]]


def test_two_lists_never_read_a_page_at_once_and_hold_none_that_is_done_with() -> None:
    shelf = Shelf(*["x" * 180_000] * 60)

    async def held(cluster: Cluster) -> list[int]:
        pages = [page async for page, _ in cluster.pages(TOOLS)]
        return [len(page) for page in pages]

    async def scene() -> list[list[int]]:
        async with served(shelf.answer) as cluster:
            return list(await asyncio.gather(*(held(cluster) for _ in range(3))))

    for lengths in asyncio.run(scene()):
        assert lengths[:-1] == [0] * (len(lengths) - 1)
        assert lengths[-1] > 0
    assert shelf.most_at_once == 1


def test_where_metadata_is_enough_nothing_else_is_asked_for() -> None:
    shelf = Shelf(SMALL)

    async def scene() -> None:
        async with served(shelf.answer) as cluster:
            assert [len(page) async for page, _ in cluster.pages(RUNS, "shop", accept=ONLY_METADATA)] == [1]

    asyncio.run(scene())
    assert shelf.accepted == {"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}


def test_while_everything_is_listed_nothing_is_looked_through_for_garbage_and_afterwards_it_is() -> None:
    shelf = Shelf()

    async def scene() -> None:
        async with served(shelf.answer) as cluster:
            await list_persistently(cluster, Store(lambda _: None, lambda _: None), ())

    asyncio.run(scene())
    assert set(shelf.collected) == {False}
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
