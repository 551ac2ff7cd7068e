"""What is worked out for decisions: tried anew where it failed, and held only as far as others can spare."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext
from typing import Any, cast

import pytest
from agentruns import answers as module
from agentruns.answers import HELD_OF_ONE, READING_AT_ONCE, Answers, LaterError
from agentruns.cluster import Cluster
from agentruns.core.digests import digest_of
from agentruns.core.naming import Key
from agentruns.core.questions import Evaluation, StoredOutput
from agentruns.core.records import OutputRef
from agentruns.core.resources import AgentRun
from agentruns.costly import Evaluators
from agentruns.reconciler import App, Pass, reconcile
from agentruns.room import Room
from agentruns.settings import Limits
from agentruns.store import Store
from aiohttp import web

from tests.unit.builders import a_run
from tests.unit.served import served

Answer = Callable[[Evaluation, str], Awaitable[tuple[Any, float]]]


class Desk:
    """Answers whose evaluators are replaced by a function; only what is stored is asked of an API server."""

    def __init__(self, answer: Answer, cluster: Cluster | None = None) -> None:
        self.told: list[Key] = []
        evaluators = cast("Evaluators", type("Asked", (), {"answer": staticmethod(answer)}))
        store = Store(lambda _: None, lambda _: None)
        self.answers = Answers(cast("Cluster", cluster), store, self.told.append, evaluators)
        room = Room(Limits(), store, self.told.append)
        none = cast("Any", None)
        self.app = App(cast("Cluster", cluster), store, self.answers, room, none, none, none)

    async def ask(self, run: AgentRun, text: str) -> Any:
        question = Evaluation(text, "{}")
        return (await self.answers.to([question], run))[question]

    async def reads(self, run: AgentRun, *refs: OutputRef) -> list[Any]:
        """The answers to what a pass over the run has to read of these outputs."""
        questions = [StoredOutput(ref) for ref in refs]
        found = await self.answers.to(questions, run)
        return [found.get(question) for question in questions]

    def has(self, run: AgentRun) -> AgentRun:
        """The run, which the store knows."""
        self.app.store.runs[key_of(run)] = run
        return run


def key_of(run: AgentRun) -> Key:
    return run.metadata.namespace, run.metadata.name


def named(name: str) -> AgentRun:
    run = a_run()
    return run.model_copy(update={"metadata": run.metadata.model_copy(update={"name": name})})


def test_what_could_not_be_worked_out_is_tried_anew() -> None:
    tries = list[str]()

    async def answer(question: Evaluation, namespace: str) -> tuple[Any, float]:
        tries.append(namespace)
        if len(tries) == 1:
            raise BlockingIOError("no process can be started")
        return question.expression, 0.0

    async def scene() -> None:
        desk = Desk(answer)
        with pytest.raises(BlockingIOError):
            await desk.ask(a_run(), "1")
        assert await desk.ask(a_run(), "1") == "1"

    asyncio.run(scene())
    assert len(tries) == 2


def test_more_than_others_can_spare_is_put_off_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUICK", 0.001)
    large = "x" * (HELD_OF_ONE * 2 // 3)

    async def scene() -> None:
        go = asyncio.Event()

        async def answer(question: Evaluation, namespace: str) -> tuple[Any, float]:
            del namespace
            await go.wait()
            return len(question.expression), 0.0

        desk = Desk(answer)
        first, second = named("first"), named("second")
        for run in (first, second):
            with pytest.raises(LaterError):
                await desk.ask(run, run.metadata.name + large)
        assert desk.told == []
        go.set()
        async with asyncio.timeout(5):
            while len(desk.told) < 2:
                await asyncio.sleep(0.001)
        assert {name for _, name in desk.told} == {"first", "second"}
        assert await desk.ask(second, "second" + large) == len(large) + 6

    asyncio.run(scene())


# ---------------------------------------------------------------------------------------- what is stored

TEXTS = {"dense": "[" + "[]," * 30_000 + "[]]", "plain": json.dumps("x" * 900_000)}


def ref(kind: str, number: int = 0) -> OutputRef:
    """An output that is stored, in a ConfigMap of its own."""
    text = TEXTS[kind]
    return OutputRef(name=f"{kind}-{number}", key="output.json", digest=digest_of(text.encode()), bytes=len(text))


async def stored(request: web.BaseRequest) -> web.StreamResponse:
    """The API server's answer to who reads one."""
    kind, _, _ = request.path.rpartition("/")[2].partition("-")
    return web.json_response({"data": {"output.json": TEXTS[kind]}})


async def nothing(question: Evaluation, namespace: str) -> tuple[Any, float]:
    raise AssertionError(f"nobody in {namespace} asks for anything costly: {question}")


def played(scene: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        async with served(stored) as cluster:
            await scene(Desk(nothing, cluster))

    asyncio.run(play())


def test_what_holds_much_is_read_some_at_a_time() -> None:
    async def scene(desk: Desk) -> None:
        plain = await desk.reads(a_run(), *(ref("plain", n) for n in range(8)))
        assert [len(it.value) for it in plain] == [900_000] * 8
        dense = await desk.reads(a_run(), *(ref("dense", n) for n in range(4)))
        assert [it and it.values for it in dense] == [60_002, 60_002, None, None]

    played(scene)


def test_what_is_remembered_counts_by_what_it_takes_in_memory() -> None:
    async def scene(desk: Desk) -> None:
        for n in range(9):
            await desk.reads(a_run(), ref("dense", n))
        assert len(desk.answers._contents) == 3  # of 60,002 values each, which take 5.4 MB
        for n in range(9):
            await desk.reads(a_run(), ref("plain", n))
        assert len(desk.answers._contents) == 9 + 1

    played(scene)


def test_few_passes_hold_what_is_stored_and_the_others_have_their_turn() -> None:
    async def scene(desk: Desk) -> None:
        runs = [named(f"run-{n}") for n in range(READING_AT_ONCE + 2)]
        for run in runs[:READING_AT_ONCE]:
            assert await desk.reads(run, ref("plain"))
        for run in runs[READING_AT_ONCE:]:
            with pytest.raises(LaterError):
                await desk.reads(run, ref("plain"))
            desk.answers.readers.rest(key_of(run))
        desk.answers.readers.leave(key_of(runs[0]))
        assert desk.told == [key_of(runs[-2])]
        with pytest.raises(LaterError):
            await desk.reads(runs[-1], ref("plain"))
        assert await desk.reads(runs[-2], ref("plain"))

    played(scene)


@pytest.mark.parametrize("end", [None, 1.0, LaterError(), RuntimeError()])
def test_a_pass_gives_others_their_turn_however_it_ends(monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    """Even one whose run has gone since it was woken."""

    async def scene(desk: Desk) -> None:
        *first, last = [desk.has(named(f"run-{n}")) for n in range(READING_AT_ONCE + 1)]
        for run in first:
            await desk.reads(run, ref("plain"))
        with pytest.raises(LaterError):
            await desk.reads(last, ref("plain"))

        async def made(self: Pass) -> float | None:
            del self
            if isinstance(end, Exception):
                raise end
            return cast("float | None", end)

        monkeypatch.setattr(Pass, "made", made)
        with nullcontext() if not isinstance(end, RuntimeError) else pytest.raises(RuntimeError):
            await reconcile(key_of(first[0]), desk.app)
        assert desk.told == [key_of(last)]
        del desk.app.store.runs[key_of(last)]
        with pytest.raises(LaterError):
            await desk.reads(first[0], ref("plain"))
        await reconcile(key_of(last), desk.app)
        assert desk.told == [key_of(last), key_of(first[0])]

    played(scene)
