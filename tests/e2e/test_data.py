"""What passes between steps: with its type, whatever its size, and never as a template."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.accounts import Body
from tests.space import ECHO, Space, says, step, steps_of

MADE: Body = {
    "number": 12,
    "half": 0.5,
    "yes": True,
    "nothing": None,
    "text": "Grüße, 世界 🚀 \u202e \\ \"quoted\" 'too'",
    "deep": {"list": [{"b": [1, {"c": None}]}], "empty": {}},
    "numbers": list(range(1000)),
    "like_a_template": "${run.input.secret} $(HOME) $$ `id`",
}
BIG = "import json; print(json.dumps({'text': 'ü' * 40_000 + '.', 'n': 7}))"


@pytest.fixture(scope="module")
def ended(shared_space: Space) -> dict[str, Body]:
    """How every run of this module ended, by name."""
    space = shared_space
    space.tool("make", says(MADE))
    space.tool("echo", ECHO)
    space.tool("big", BIG)
    make = step("make", "make")
    same = {name: f"${{steps.make.output.{name}}}" for name in MADE}
    space.start("same", make, step("echo", "echo", args=same), output={"echo": "${steps.echo.output}"})
    words = "${steps.make.output.number} of ${steps.make.output.deep}, ${steps.make.output.text}"
    computed = {
        "words": words,
        "more": "${steps.make.output.number + 30}",
        "last": "${steps.make.output.numbers[999]}",
        "nested": [{"sum": ["${run.input.a + run.input.b}"]}],
        "literal": "$${run.input.a} and $(HOME)",
        "name": "${run.name}/${run.namespace}",
        "goal": "${run.goal}",
    }
    space.start("computed", make, step("echo", "echo", args=computed), input={"a": 1, "b": 2}, goal="Add ${this}.")
    read = {"whole": "${steps.big.output.text.endsWith('ü.')}", "n": "${steps.big.output.n}"}
    space.start("big", step("big", "big"), step("echo", "echo", args=read))
    return {name: space.ended(name) for name in ("same", "computed", "big")}


def output(status: Body, of: str) -> Any:
    assert status["phase"] == "Succeeded", status["message"]
    return steps_of(status)[of]["output"]


@pytest.mark.parametrize("name", [name for name in MADE if name != "numbers"])
def test_a_value_arrives_as_it_left(ended: dict[str, Body], name: str) -> None:
    found = ended["same"]["output"]["echo"][name]
    assert (type(found), found) == (type(MADE[name]), MADE[name])


def test_a_list_of_a_thousand_numbers_arrives_whole(ended: dict[str, Body]) -> None:
    assert ended["same"]["output"]["echo"]["numbers"] == list(range(1000))


def test_expressions_are_computed_and_interpolated(ended: dict[str, Body], shared_space: Space) -> None:
    deep = json.dumps(MADE["deep"], separators=(",", ":"), sort_keys=True)
    assert output(ended["computed"], "echo") == {
        "words": f"12 of {deep}, {MADE['text']}",
        "more": 42,
        "last": 999,
        "nested": [{"sum": [3]}],
        "literal": "${run.input.a} and $(HOME)",
        "name": f"computed/{shared_space.name}",
        "goal": "Add ${this}.",
    }


def test_a_big_output_is_kept_by_digest_and_read_by_later_steps(ended: dict[str, Body], shared_space: Space) -> None:
    assert output(ended["big"], "echo") == {"whole": True, "n": 7}
    record = steps_of(ended["big"])["big"]
    reference = record["outputRef"]
    stored = shared_space.get("configmaps", reference["name"])
    content = stored["data"][reference["key"]].encode()
    assert "output" not in record
    assert stored["immutable"] is True
    assert json.loads(content) == {"text": "ü" * 40_000 + ".", "n": 7}
    assert reference["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert reference["bytes"] == len(content)
