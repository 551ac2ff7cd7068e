"""Evaluates what is not trivially cheap in processes of their own, each killed when a question takes too long.

`python -m agentruns.costly` reads questions as lines of JSON on standard input and writes a line for each answer.
"""

import asyncio
import json
import math
import resource
import sys
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any, Final, Self

from agentruns.core.expressions import evaluated
from agentruns.core.lexing import ExpressionError
from agentruns.core.problems import Problem
from agentruns.core.questions import Costly, Evaluation, Validation
from agentruns.core.schemas import validated

CPU_SECONDS: Final = 2
WALL_SECONDS: Final = 20.0
MEMORY_BYTES: Final = 192 * 1024 * 1024
MAX_ANSWER: Final = 131_072
"""Bytes: more than any field of a run can carry."""
AT_ONCE: Final = 2
TOO_LONG: Final = f"takes more than {CPU_SECONDS} s of computing; compute it in a step instead"


class Evaluators:
    """A few processes that answer costly questions. Namespaces take turns, so that none waits for all of another's."""

    def __init__(self) -> None:
        self._idle: list[_Evaluator | None] = [None] * AT_ONCE
        self._waiting: OrderedDict[str, deque[asyncio.Future[_Evaluator | None]]] = OrderedDict()

    async def answer(self, question: Costly, namespace: str) -> tuple[Any, float]:
        """The value of an evaluation (or an ExpressionError) or the problems a validation sees, and its seconds."""
        evaluator = await self._turn(namespace)
        start = asyncio.get_running_loop().time()
        try:
            said, evaluator = await _asked(question, evaluator)
        finally:
            self._pass_on(evaluator)
        return _meant(question, said), asyncio.get_running_loop().time() - start

    async def close(self) -> None:
        """Ends the processes."""
        for evaluator in self._idle:
            if evaluator is not None:
                await evaluator.end()

    async def _turn(self, namespace: str) -> "_Evaluator | None":
        if self._idle:
            return self._idle.pop()
        turn: asyncio.Future[_Evaluator | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append(turn)
        return await turn

    def _pass_on(self, evaluator: "_Evaluator | None") -> None:
        """Gives the turn to the namespace that has waited for one the longest."""
        while self._waiting:
            namespace, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[namespace] = turns
            if not turn.cancelled():
                turn.set_result(evaluator)
                return
        self._idle.append(evaluator)


class _Evaluator:
    """A process that answers one question after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.answered = 0

    @classmethod
    async def started(cls) -> Self:
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        command = (sys.executable, "-m", "agentruns.costly")
        limit = 2 * MAX_ANSWER
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=null, limit=limit))

    async def ask(self, question: Costly) -> dict[str, Any] | None:
        """What the process says; None if it did not survive the question."""
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None and sink is not None
        try:
            async with asyncio.timeout(WALL_SECONDS):
                sink.write(_encoded(question))
                await sink.drain()
                line = await source.readline()
        except (OSError, TimeoutError):
            line = b""
        if not line:
            await self.end()
            return None
        self.answered += 1
        return dict(json.loads(line))

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


async def _asked(question: Costly, evaluator: _Evaluator | None) -> tuple[dict[str, Any], _Evaluator | None]:
    """What was said, and by whom; a process that dies of what it did before is no fault of this question."""
    while True:
        evaluator = evaluator or await _Evaluator.started()
        said, was_new = await evaluator.ask(question), not evaluator.answered
        if said is not None:
            return said, evaluator
        if was_new:
            return {}, None
        evaluator = None


def _meant(question: Costly, said: dict[str, Any]) -> Any:
    if isinstance(question, Validation):
        return said.get("value", said.get("error", f"its validation {TOO_LONG}"))
    return said["value"] if "value" in said else ExpressionError(said.get("error", TOO_LONG))


def _encoded(question: Costly) -> bytes:
    match question:
        case Evaluation():
            content = {"expression": question.expression, "environment": question.environment}
        case Validation():
            content = {"schema": question.schema, "value": question.value}
    return json.dumps(content).encode() + b"\n"


def main() -> None:
    """Answers questions, each within this process's limits."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, it is for want of it here
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        allowed = math.ceil(used.ru_utime + used.ru_stime) + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
        text = json.dumps(_said(json.loads(line)))
        if len(text) > MAX_ANSWER:
            text = json.dumps({"error": f"its value has {len(text)} bytes; at most {MAX_ANSWER} are taken"})
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _said(question: dict[str, Any]) -> dict[str, Any]:
    try:
        if "schema" in question:
            return {"value": validated(question["schema"], json.loads(question["value"]))}
        return {"value": evaluated(question["expression"], json.loads(question["environment"]))}
    except Problem as problem:
        return {"error": str(problem)}


if __name__ == "__main__":
    main()
