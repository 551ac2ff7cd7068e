"""What one author sends to hold the operator up gets an error, and others go on as if nothing was."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import pytest

from tests import installed
from tests.accounts import Body
from tests.commands import kubectl
from tests.space import ECHO, FINAL, Space, step
from tests.waiting import until

ROUNDS = 20
MOST = 8
ADDED = 0.1
"""Seconds that a hostile neighbour may add to the median, beyond what makes the API server itself slow."""
# The most that the API server takes; deeper than these tests' own JSON reader goes.
DEEP = '{"a":' * 9_990 + "1" + "}" * 9_990


@dataclass(frozen=True)
class Hostile:
    """A run, its tool, and what its author is told."""

    says: str
    tool: Body = field(default_factory=dict)
    step: Body = field(default_factory=dict)
    spec: Body = field(default_factory=dict)


LOOP = "run.input.list.all(x, run.input.list.all(y, x + y >= 0))"
LONG = "\N{GRINNING FACE}" + "a" * 30_000
OFTEN = {"x": ["${run.input.b}"] * 3900}
BACKTRACKS = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}

HOSTILE = {
    "loop": Hostile("takes more than 2 s", step={"when": LOOP}, spec={"input": {"list": list(range(10_000))}}),
    "pattern": Hostile("text: ", tool={"inputSchema": BACKTRACKS}, step={"args": {"text": "a" * 30_000 + "!"}}),
    "url": Hostile("inputSchema: ", tool={"inputSchema": {"$ref": "https://registry.example/schema.json"}}),
    "file": Hostile("outputSchema: ", tool={"outputSchema": {"$ref": "file:///etc/passwd"}}),
    "wide": Hostile("inputSchema: ", tool={"inputSchema": {"properties": {LONG: {"allOf": [0] * 11_700}}}}),
    "often": Hostile("characters and values come together", step={"args": OFTEN}, spec={"input": {"b": "é" * 32_700}}),
    "deep": Hostile("input: is nested more than 64 levels deep", spec={"input": {"deep": "HERE"}}),
}


NESTED = f"import json; print(json.dumps([{'[' * 60}{']' * 60}] * 1600, separators=(',', ':')))"
"""Prints 194 kB that take 8 MB once they are read."""


@dataclass(frozen=True)
class Took:
    """Seconds, as medians: for the API server to take runs that have nothing to do, and from then to their ends."""

    creation: float
    answer: float


def took(space: Space, prefix: str) -> Took:
    """How long runs take that skip their only step, one after the other."""
    creations, answers = [], []
    for n in range(ROUNDS):
        began = time.monotonic()
        space.start(f"{prefix}-{n}", step("first", "echo", when="false"))
        created = time.monotonic()
        until(lambda: space.status(f"{prefix}-{n}").get("phase") in FINAL, "it has ended", every=0.005)  # noqa: B023
        creations.append(created - began)
        answers.append(time.monotonic() - created)
    return Took(median(creations), median(answers))


def start(space: Space, kind: str, number: int) -> None:
    """Starts a hostile run; as text, for what is too deep for Python's own JSON."""
    hostile = HOSTILE[kind]
    run = space.run_manifest(f"{kind}-{number}", step("first", kind, **hostile.step), **hostile.spec)
    collection = f"/apis/agentrun.dev/v1alpha1/namespaces/{space.name}/agentruns"
    kubectl("create", "--raw", collection, "-f", "-", stdin=json.dumps(run).replace('"HERE"', DEEP))


def ended(space: Space, run: str) -> str:
    """Reason and message of a run at its end; told by kubectl, which reads what is deep."""
    where = (f"agentrun/{run}", f"--namespace={space.name}")
    kubectl("wait", *where, "--for=condition=Finished", "--timeout=120s")
    return kubectl("get", *where, "--output=jsonpath={.status.reason}: {.status.message}")


@contextmanager
def neighbour(space: Space, kind: str) -> Iterator[list[str]]:
    """Somebody who starts some hostile runs, one after the other, and the names of those that were started."""
    stop, started = threading.Event(), list[str]()

    def work() -> None:
        while not stop.is_set() and len(started) < MOST:
            start(space, kind, len(started))
            started.append(f"{kind}-{len(started)}")

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            until(lambda: started or working.done(), "the neighbour has begun")
            yield started
        finally:
            stop.set()
    working.result()


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_author_gets_an_error_and_others_go_on(space: Space, shared_space: Space, kind: str) -> None:
    space.tool("echo", ECHO)
    shared_space.tool(kind, ECHO, **HOSTILE[kind].tool)
    restarts = installed.restarts()
    took(space, "first")
    quiet = took(space, "quiet")
    with neighbour(shared_space, kind) as runs:
        busy = took(space, "busy")
    print(f"quiet: {quiet}; beside {len(runs)} hostile runs: {busy}")
    for run in runs:
        said = ended(shared_space, run)
        assert said.startswith("InvalidSpec: ")
        assert HOSTILE[kind].says in said
    assert installed.restarts() == restarts
    assert busy.answer - quiet.answer < ADDED + max(0, busy.creation - quiet.creation), (quiet, busy)


def test_who_reads_all_that_a_hundred_steps_have_printed_is_told_how_much_may_be_read(space: Space) -> None:
    """Read at once, it would take 1 GB, of an operator that may have 768 MiB."""
    space.tool("nested", NESTED)
    restarts = installed.restarts()
    names = [f"s{n}" for n in range(120)]
    sizes = {"sizes": [f"${{size(steps.{name}.output)}}" for name in names]}
    space.start("reads", *(step(name, "nested") for name in names), order="Graph", parallelism=20, output=sizes)
    status = space.ended("reads", seconds=900)
    assert (status["phase"], status["reason"]) == ("Failed", "OutputInvalid")
    assert "bytes of stored outputs; at most 8388608 are read at once" in status["message"]
    assert installed.restarts() == restarts
