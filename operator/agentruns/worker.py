"""Evaluates what is not trivially cheap in a process of its own, which is killed when it takes too long.

`python -m agentruns.worker` reads one question as JSON on standard input and writes the answer on standard output.
"""

import asyncio
import json
import resource
import sys
from typing import Any, Final

from agentruns.core.expressions import evaluated
from agentruns.core.lexing import ExpressionError
from agentruns.core.observed import Evaluation, Validation
from agentruns.core.schemas import SchemaError, validated

CPU_SECONDS: Final = 2
WALL_SECONDS: Final = 20.0
MEMORY_BYTES: Final = 256 * 1024 * 1024
MAX_ANSWER: Final = 1_048_576
_AT_ONCE: Final = 2
_TOO_LONG: Final = f"takes more than {CPU_SECONDS} s of computing; compute it in a step instead"

_room = asyncio.Semaphore(_AT_ONCE)


async def answer(question: Evaluation | Validation) -> Any:
    """The value of an evaluation (or an ExpressionError as a value), the problems that a validation sees."""
    async with _room:
        said = await _ask(question)
    if isinstance(question, Validation):
        return said.get("value", said.get("error", f"its validation {_TOO_LONG}"))
    return said["value"] if "value" in said else ExpressionError(said.get("error", _TOO_LONG))


def too_many(question: Evaluation | Validation, limit: int) -> Any:
    """The answer to a question that is not worked out at all."""
    said = f"is one of more than {limit} costly ones at once; make it simpler, or compute it in a step"
    return f"its validation {said}" if isinstance(question, Validation) else ExpressionError(said)


async def _ask(question: Evaluation | Validation) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agentruns.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(_encoded(question)), WALL_SECONDS)
    except TimeoutError:
        out = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return dict(json.loads(out)) if process.returncode == 0 and out else {}


def _encoded(question: Evaluation | Validation) -> bytes:
    match question:
        case Evaluation():
            content = {"expression": question.expression, "environment": question.environment}
        case Validation():
            content = {"schema": question.schema, "value": question.value}
    return json.dumps(content).encode()


def main() -> None:
    """Answers one question within this process's limits."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    question = json.load(sys.stdin)
    try:
        if "schema" in question:
            said: dict[str, Any] = {"value": validated(question["schema"], json.loads(question["value"]))}
        else:
            said = {"value": evaluated(question["expression"], json.loads(question["environment"]))}
    except (ExpressionError, SchemaError) as error:
        said = {"error": str(error)}
    text = json.dumps(said)
    if len(text) > MAX_ANSWER:
        text = json.dumps({"error": f"its value has {len(text)} bytes; at most {MAX_ANSWER} are taken"})
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
