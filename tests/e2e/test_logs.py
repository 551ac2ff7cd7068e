"""What the operator logs: a JSON object a line, which says what it is about, and never what tools are told or tell."""

from __future__ import annotations

import json

import pytest

from tests import installed
from tests.space import Space, step
from tests.waiting import until

SECRETS = ("argument-hunter2", "output-hunter3", "complaint-hunter4", "context-hunter5")
ARGUMENT, OUTPUT, COMPLAINT, INPUT = SECRETS
COMPLAINS = f"import sys; print('{COMPLAINT}', file=sys.stderr); sys.exit(65)"


@pytest.fixture(scope="module")
def log(shared_space: Space) -> str:
    """The operator's log, once runs that hold secrets have ended, well and not."""
    space = shared_space
    args = {"password": ARGUMENT, "read": "${run.input.secret}"}
    space.tool("tells", f"print('\"{OUTPUT}\"')")
    space.tool("lies", f"print('\"{OUTPUT}\"')", outputSchema={"type": "object"})
    space.tool("complains", COMPLAINS)
    more = {"input": {"secret": INPUT}, "output": {"all": "${steps.first.output}"}}
    space.start("tells", step("first", "tells", args=args), step("second", "tells", args={"x": OUTPUT}), **more)
    for name in ("lies", "complains"):
        space.start(name, step("first", name, args=args), input={"secret": INPUT})
    for name in ("tells", "lies", "complains"):
        space.ended(name)
    ends = {("tells", "RunSucceeded"), ("lies", "RunFailed"), ("complains", "RunFailed")}
    until(
        lambda: ends <= {(it["run"], it["message"]) for it in lines(installed.log(), space)}, "each end is logged", 10
    )
    return installed.log()


def lines(log: str, space: Space) -> list[dict[str, object]]:
    """The lines about a space; every line of the log must be a JSON object."""
    return [it for it in map(json.loads, log.splitlines()) if it.get("namespace") == space.name]


def test_every_line_is_json_and_says_which_run_step_and_attempt(log: str, shared_space: Space) -> None:
    found = lines(log, shared_space)
    told = [(it["step"], it["attempt"], it["message"]) for it in found if it["run"] == "tells"]
    assert {("first", 1, "StepSucceeded"), ("second", 1, "StepSucceeded"), ("", 0, "RunSucceeded")} <= set(told)
    assert all(it.keys() >= {"time", "level", "logger", "message", "run", "step", "attempt"} for it in found)


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_that_a_tool_is_told_or_tells_is_logged(log: str, secret: str) -> None:
    assert secret not in log
