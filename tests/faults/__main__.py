"""`python -m tests.faults`: the operator's own entry point, each of whose API calls is recorded and may go wrong."""

from __future__ import annotations

import json
import os
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import aiohttp
from agentruns import __main__ as operator
from agentruns import cluster

from tests.faults.calls import name_of
from tests.faults.fault import RECORD_VARIABLE, Calls, Fault, Moment

_due: ContextVar[Fault | None] = ContextVar("due", default=None)
"""The fault that is due in the call that this task makes."""
_request = cluster.Cluster._request
_send = aiohttp.ClientRequest.send


def main() -> None:
    """Runs the operator with the fault that the environment asks for."""
    calls, record = Calls(Fault.of(os.environ)), Path(os.environ[RECORD_VARIABLE])

    async def request(self: Any, method: str, path: str, body: Any = None, query: Any = None, **more: Any) -> Any:
        name = name_of(method, path, body, query or {})
        number, fault = calls.begun(name)
        due = _due.set(fault)
        try:
            answer = await _request(self, method, path, body, query, **more)
        except cluster.ApiError as error:
            _written(record, name, number, error.status)
            _commit(Moment.AFTER)
            raise
        else:
            _written(record, name, number, answer.status)
            _commit(Moment.AFTER)
            return answer
        finally:
            _due.reset(due)

    cluster.Cluster._request = request  # type: ignore[method-assign]
    aiohttp.ClientRequest.send = _sent  # type: ignore[assignment,method-assign]
    operator.main()


async def _sent(self: aiohttp.ClientRequest, connection: Any) -> Any:
    """What sending answers, with the moments before and after its bytes went out."""
    _commit(Moment.BEFORE)
    response = await _send(self, connection)
    if _due.get() and response._writer:  # the body is written by a task of its own
        await response._writer
    _commit(Moment.SENT)
    return response


def _commit(moment: Moment) -> None:
    fault = _due.get()
    if fault is not None and fault.moment is moment:
        fault.commit()


def _written(record: Path, name: str, number: int, status: int) -> None:
    """Writes down an answered call; what is written survives the process."""
    line = json.dumps({"at": time.time(), "call": name, "number": number, "status": status})
    with record.open("a") as lines:
        lines.write(line + "\n")


if __name__ == "__main__":
    main()
