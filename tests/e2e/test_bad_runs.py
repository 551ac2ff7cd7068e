"""Runs that cannot work, which the API server cannot know: Failed/InvalidSpec before any pod, naming the field."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from tests.accounts import Body
from tests.commands import kubectl
from tests.space import ECHO, Space, says, step

DEEP = '{"a":' * 9_000 + "1" + "}" * 9_000
GRAPH = {"order": "Graph"}


def one(**fields: object) -> list[Body]:
    return [step("first", "echo") | fields]


def two(**fields: object) -> list[Body]:
    return [step("first", "echo"), step("second", "echo") | fields]


@dataclass(frozen=True)
class Case:
    """A run that cannot work, and what its message says."""

    says: str
    steps: list[Body]
    spec: Body = field(default_factory=dict)


# One for each way on which a mistake is found; what else is one, is shown without a cluster.
CASES = {
    "needs-below": Case(
        "steps[0].needs: 'second' is no step above 'first'",
        [step("first", "echo", needs=["second"]), step("second", "echo")],
        GRAPH,
    ),
    "does-not-compile": Case("steps[0] (first): args.x: ", one(args={"x": "${1 +}"})),
    "reads-unneeded": Case(
        "args.x: reads steps.first, which this step does not need", two(args={"x": "${steps.first.output}"}), GRAPH
    ),
    "static-args": Case(
        "args do not fit the inputSchema of tool strict", [step("first", "strict", args={"order": 4711})]
    ),
    "broken-schema": Case("tool broken: inputSchema: ", [step("first", "broken")]),
    "when-no-truth": Case("when: must be true or false", one(when="run.name")),
    "big-args": Case(
        "more than 65536 characters and values come together",
        one(args={"a": "${run.input.text}", "b": "${run.input.text}"}),
        {"input": {"text": "x" * 40_000}},
    ),
}

LATE = {
    "dynamic-args": Case(
        "args do not fit the inputSchema of tool strict: order",
        [step("first", "number"), step("second", "strict", args={"order": "${steps.first.output}"})],
    ),
    "missing-key": Case(
        "args.x: there is no 'total' in steps.first.output, which has: nothing",
        two(args={"x": "${steps.first.output.total}"}),
    ),
}


@pytest.fixture(scope="module")
def ended(shared_space: Space) -> dict[str, Body]:
    """How every run of this module ended, by name."""
    space = shared_space
    space.tool("echo", ECHO, timeout="60s")
    space.tool("number", says(4711))
    order = {"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}}
    space.tool("strict", ECHO, inputSchema=order)
    space.tool("broken", ECHO, inputSchema={"type": "objekt"})
    cases = CASES | LATE
    for name, case in cases.items():
        space.start(name, *case.steps, **case.spec)
    return {name: space.ended(name) for name in cases}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_work_is_said_before_any_pod(ended: dict[str, Body], shared_space: Space, name: str) -> None:
    status = ended[name]
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec"), status["message"]
    assert CASES[name].says in status["message"]
    assert shared_space.pods(name) == []


@pytest.mark.parametrize("name", LATE)
def test_what_turns_out_not_to_work_is_said_before_that_pod(
    ended: dict[str, Body], shared_space: Space, name: str
) -> None:
    status = ended[name]
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec"), status["message"]
    assert LATE[name].says in status["message"]
    assert status["message"].startswith("step second: ")
    assert len(shared_space.pods(name, "first")) == 1
    assert shared_space.pods(name, "second") == []


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("place", ["input", "args", "output"])
def test_json_nested_without_end_is_refused_wherever_it_is(shared_space: Space, place: str) -> None:
    """Deeper than most JSON readers go, these tests' too, so kubectl shows how it ended."""
    name, here = f"deep-{place}", {"deep": "HERE"}
    run = shared_space.run_manifest(name, *one(args=here if place == "args" else {}))
    run["spec"] |= {} if place == "args" else {place: here}
    collection = f"/apis/agentrun.dev/v1alpha1/namespaces/{shared_space.name}/agentruns"
    kubectl("create", "--raw", collection, "-f", "-", stdin=json.dumps(run).replace('"HERE"', DEEP))
    where = (f"agentrun/{name}", f"--namespace={shared_space.name}")
    kubectl("wait", *where, "--for=condition=Finished", "--timeout=60s")
    reason, _, message = kubectl("get", *where, "--output=jsonpath={.status.reason} {.status.message}").partition(" ")
    assert reason == "InvalidSpec"
    assert f"{place}: is nested more than 64 levels deep" in message
