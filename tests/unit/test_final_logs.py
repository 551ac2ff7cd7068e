"""Logs at the end of a pod: what is lost, what is only to be read later, and who waits for a node that hangs."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from agentruns import final_logs as module
from agentruns.answers import Answers, LaterError
from agentruns.clock import utc_now
from agentruns.cluster import ApiError
from agentruns.core.naming import Key
from agentruns.core.observed import NoResult, PodSeen, ToolResult
from agentruns.core.questions import ResultOf
from agentruns.costly import Evaluators
from agentruns.final_logs import OF_NAMESPACE, OF_NODE, FinalLogs, final_result
from aiohttp import web

from tests.unit.builders import a_pod, an_end
from tests.unit.log_server import Node, cluster_of
from tests.unit.test_queue import until
from tests.unit.test_store import HELD, RUN, Seen
from tests.unit.test_store import a_pod as stored_pod
from tests.unit.test_store import a_run as stored_run


async def asked(answer: web.Response | None, ended: timedelta | None) -> NoResult | ApiError:
    """What comes of asking for the log of a pod that ended a while ago, or runs; no answer breaks the connection."""

    async def answered(request: web.BaseRequest) -> web.Response:
        if answer is None:
            assert request.transport
            request.transport.abort()
        return answer or web.Response()

    async with cluster_of(answered) as cluster:
        try:
            end = None if ended is None else an_end(finished_at=utc_now() - ended)
            found = await final_result(cluster, "shop", a_pod(end=end), asyncio.Semaphore(1))
            assert isinstance(found, NoResult)
            return found
        except ApiError as error:
            return error


@pytest.mark.parametrize(
    ("status", "said", "waits", "seconds"),
    [
        (429, "7", "x", 7.0),
        (503, "7", "x", 7.0),
        (503, "3600", "x", 60.0),
        (503, "Fri, 31 Dec 2027 23:59:59 GMT", "x", 0.0),
        (503, "", "x", 0.0),
        (504, "7", "x", 0.0),
        (500, "7", "etcdserver: mvcc: database space exceeded", 0.0),
    ],
)
def test_trouble_of_the_api_server_is_no_lost_result(status: int, said: str, waits: str, seconds: float) -> None:
    answer = web.Response(status=status, text=waits, headers={"Retry-After": said})
    found = asyncio.run(asked(answer, timedelta(days=1)))
    assert isinstance(found, ApiError)
    assert (found.is_trouble_of_the_server, found.retry_after) == (True, seconds)


def test_a_log_that_its_kubelet_does_not_give_is_asked_for_again_for_a_while() -> None:
    refused = 'Get "https://node:10250/containerLogs/x": dial tcp: connection refused'
    just, before = timedelta(seconds=30), timedelta(seconds=90)
    assert isinstance(asyncio.run(asked(web.Response(status=500, text=refused), just)), ApiError)
    assert asyncio.run(asked(web.Response(status=500, text=refused), before)) == NoResult(complete=False)
    assert asyncio.run(asked(web.Response(status=404, text="gone"), just)) == NoResult(complete=False)


def test_the_log_of_a_pod_that_is_given_up_is_not_waited_for_as_its_node_may_never_answer() -> None:
    assert asyncio.run(asked(None, None)) == NoResult(complete=False)
    assert asyncio.run(asked(web.Response(status=500, text="dial tcp: i/o timeout"), None)) == NoResult(complete=False)
    assert isinstance(asyncio.run(asked(web.Response(status=503), None)), ApiError)
    assert isinstance(asyncio.run(asked(None, timedelta(days=1))), ApiError)


# ------------------------------------------------------------------------------- read beside the passes

KEY = ("shop", "run")


def ended(name: str, node: str = "node-1", **fields: Any) -> PodSeen:
    """A pod that has come to its end."""
    return a_pod(name=name, uid=name, node=node, **({"end": an_end()} | fields))


def said(pod: str, content: str = '{"output": 1}') -> bytes:
    """The log of a pod with this result."""
    return f"working\nagentrun-result/{pod} {content}\n".encode()


@dataclass
class Scene:
    """Logs that are read of a node, and the runs that were told of it."""

    node: Node
    logs: FinalLogs
    told: list[Key]

    async def said(self, pod: PodSeen, key: Key = KEY) -> ToolResult | NoResult:
        """What a pod has said, once that is known: each time it is asked it is waited for a little."""
        async with asyncio.timeout(10):
            while (found := await self.logs.said(key, pod)) is None:
                pass
        return found

    async def output(self, pod: PodSeen, key: Key = KEY) -> Any:
        """The output of a pod, once that is known."""
        found = await self.said(pod, key)
        assert isinstance(found, ToolResult)
        return found.output

    async def is_held(self, *pods: PodSeen, key: Key = KEY) -> bool:
        """Whether nothing is known of pods yet, asked at once."""
        return await asyncio.gather(*(self.logs.said(key, pod) for pod in pods)) == [None] * len(pods)

    async def tells(self, times: int = 1) -> None:
        """Returns once so many logs were read that nobody had waited for."""
        await until(lambda: len(self.told) >= times)


def played(scene: Callable[[Scene], Coroutine[Any, Any, None]], **logs: bytes) -> None:
    """Plays a scene with a node that has these logs."""

    async def play() -> None:
        node, told = Node(**logs), list[Key]()
        async with cluster_of(node) as cluster:
            final = FinalLogs(cluster, told.append)
            try:
                await scene(Scene(node, final, told))
            finally:
                await final.close()

    asyncio.run(play())


def test_a_log_that_is_there_soon_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOON", 10)

    async def scene(it: Scene) -> None:
        assert isinstance(await it.logs.said(KEY, ended("quick")), ToolResult)
        assert it.told == []

    played(scene, quick=said("quick"))


def test_a_log_that_takes_a_while_is_read_once_and_told_of() -> None:
    async def scene(it: Scene) -> None:
        pod = ended("slow")
        assert await it.is_held(pod) and await it.is_held(pod)
        it.node.goes_on.set()
        await it.tells()
        assert await it.output(pod) == 1
        assert (set(it.told), it.node.asked) == ({KEY}, ["slow"])

    played(scene, slow=said("slow"))


def test_a_node_that_hangs_is_asked_for_few_logs_and_those_of_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if only one log may be read at once: one that its node does not give is not being read."""
    monkeypatch.setattr(module, "AT_ONCE", 1)

    async def scene(it: Scene) -> None:
        slow = [((f"space-{number % 10}", "run"), ended(f"slow{number}")) for number in range(20)]
        for key, pod in slow:
            assert await it.is_held(pod, key=key)
        await until(lambda: len(it.node.held) == OF_NODE)
        assert await it.output(ended("quick", node="node-2")) == 1
        assert len(it.node.held) == OF_NODE
        it.node.goes_on.set()
        for key, pod in slow:
            assert await it.output(pod, key) == 1
        assert sorted(it.node.asked) == sorted([*it.node.logs])

    played(scene, quick=said("quick"), **{f"slow{number}": said(f"slow{number}") for number in range(20)})


def test_a_namespace_is_not_given_all_that_a_node_gives_at_once() -> None:
    async def scene(it: Scene) -> None:
        assert await it.is_held(*(ended(f"slow{number}") for number in range(10)))
        await until(lambda: len(it.node.held) == OF_NAMESPACE)
        assert await it.output(ended("quick"), ("other", "run")) == 1
        assert len(it.node.held) == OF_NAMESPACE

    played(scene, quick=said("quick"), **{f"slow{number}": said(f"slow{number}") for number in range(10)})


def test_so_many_logs_are_read_at_once_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each there may be most of a large result in memory."""
    monkeypatch.setattr(module, "AT_ONCE", 1)

    async def scene(it: Scene) -> None:
        half, quick = ended("half"), ended("quick", node="node-2")
        assert await it.is_held(half)
        await until(lambda: it.node.held)
        assert await it.is_held(quick)
        it.node.goes_on.set()
        assert [await it.output(half), await it.output(quick)] == [1, 1]

    played(scene, half=said("half"), quick=said("quick"))


@pytest.mark.parametrize(
    ("log", "fields", "times"),
    [
        pytest.param(b"working\n", {}, 1, id="nothing-in-a-whole-log"),
        pytest.param(said("pod", '{"error": {"class": "Unknown"}}'), {}, 1, id="an-error"),
        pytest.param(said("pod", '{"output": 1}'), {}, 2, id="an-output-which-may-be-large"),
        pytest.param(b"working\n", {"end": an_end(known=False)}, 2, id="nobody-knows-how-it-ended"),
        pytest.param(b"working\n", {"end": None}, 2, id="it-has-not-ended"),
        pytest.param(None, {}, 2, id="a-log-that-is-gone"),
    ],
)
def test_what_a_doubt_has_asked_in_every_pass_is_read_once(log: bytes | None, fields: Any, times: int) -> None:
    async def scene(it: Scene) -> None:
        pod = ended("pod", **fields)
        first = await it.said(pod)
        it.logs.forget(KEY)
        again = await it.said(pod)
        assert (again is first, len(it.node.asked)) == (times == 1, times)

    played(scene, **({} if log is None else {"pod": log}))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 1)

    async def scene(it: Scene) -> None:
        for name in ("one", "two", "two", "one"):
            await it.said(ended(name))
            it.logs.forget(KEY)
        assert it.node.asked == ["one", "two", "one"]

    played(scene, one=b"", two=b"")


def test_an_error_is_raised_once_and_then_the_log_is_read_anew() -> None:
    async def scene(it: Scene) -> None:
        answers = [web.Response(status=503), web.Response(body=said("pod"))]

        async def answered(_: web.BaseRequest) -> web.StreamResponse:
            return answers.pop(0)

        async with cluster_of(answered) as cluster:
            it.logs = FinalLogs(cluster, it.told.append)
            with pytest.raises(ApiError):
                await it.said(ended("pod"))
            assert await it.output(ended("pod")) == 1

    played(scene)


def test_what_was_said_of_a_pod_that_is_given_up_does_not_count_once_it_has_ended() -> None:
    async def scene(it: Scene) -> None:
        pod = ended("pod", end=None)
        assert await it.said(pod) == NoResult(complete=False)
        it.node.logs["pod"] = said("pod")
        assert await it.said(replace(pod, resource_version="8")) == NoResult(complete=False)
        assert await it.output(replace(pod, end=an_end())) == 1

    played(scene)


def test_a_log_that_nobody_asks_for_any_more_is_not_read_on() -> None:
    async def scene(it: Scene) -> None:
        assert await it.is_held(ended("slow"))
        await until(lambda: it.node.held)
        it.logs.forget(KEY)
        await until(lambda: not it.node.held)
        assert it.told == []

    played(scene, slow=b"")


def test_a_pass_asks_for_a_log_and_goes_on_in_another_one() -> None:
    async def scene(it: Scene) -> None:
        body = stored_pod(2)
        world = Seen().take(stored_run(1, steps=[HELD]), body | {"metadata": body["metadata"] | {"name": "slow"}})
        run = world.store.runs[RUN]
        async with cluster_of(it.node) as cluster:
            answers = Answers(cluster, world.store, it.told.append, Evaluators())
            question = ResultOf("uid-of-pod")
            with pytest.raises(LaterError):
                await answers.to([question], run)
            it.node.goes_on.set()
            await it.tells()
            found = (await answers.to([question], run))[question]
            assert it.told == [RUN]
            assert world.store.results(["uid-of-pod"]) == {"uid-of-pod": found}, "it is no end, but a result"
            answers.forget(RUN)
            await answers.close()

    played(scene, slow=said("uid-of-pod"))
