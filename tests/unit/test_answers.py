"""What is worked out for decisions: tried anew where it failed, and held only as far as others can spare."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from agentruns import answers as module
from agentruns.answers import HELD_OF_ONE, Answers, LaterError
from agentruns.cluster import Cluster
from agentruns.core.naming import Key
from agentruns.core.questions import Evaluation
from agentruns.core.resources import AgentRun
from agentruns.costly import Evaluators
from agentruns.store import Store

from tests.unit.builders import a_run

Answer = Callable[[Evaluation, str], Awaitable[tuple[Any, float]]]


class Desk:
    """Answers whose evaluators are replaced by a function; nothing here asks the API server."""

    def __init__(self, answer: Answer) -> None:
        self.told: list[Key] = []
        evaluators = cast("Evaluators", type("Asked", (), {"answer": staticmethod(answer)}))
        store = Store(self.told.append, self.told.append)
        self.answers = Answers(cast("Cluster", None), store, self.told.append, evaluators)

    async def ask(self, run: AgentRun, text: str) -> Any:
        question = Evaluation(text, "{}")
        return (await self.answers.to([question], run))[question]


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
