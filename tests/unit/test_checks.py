"""What can never work is said before the first pod, with the field that is wrong and the remedy."""

from typing import Any

import pytest
from agentruns.core.actions import Create
from agentruns.core.lifecycle import decide
from agentruns.core.records import Phase
from agentruns.core.resources import AgentRun, ToolSpec
from agentruns.core.schedule import direct_needs

from tests.unit.builders import a_run, a_step, a_tool, seen

DEEP: Any = {}
for _ in range(100):
    DEEP = {"a": DEEP}
STRICT = {
    "type": "object",
    "required": ["order"],
    "properties": {"order": {"type": "string"}},
    "additionalProperties": False,
}
SETTLE = {"tool": "b", "happened": "result.found && args.order != ''"}


def refusal(run: AgentRun, **tools: ToolSpec) -> str:
    """The message with which a run ends before it began; it prepares and does nothing."""
    found = decide(run, seen(tools={step.tool: a_tool() for step in run.spec.steps} | tools))
    assert (found.status.phase, found.status.reason) == (Phase.FAILED, "InvalidSpec"), found.status.message
    assert (found.preparations, found.actions, found.status.steps, found.status.tools) == ((), (), (), ())
    return found.status.message


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (a_run().model_copy(update={"spec": a_run().spec.model_copy(update={"steps": ()})}), "steps: a run has at"),
        (a_run(a_step("a"), a_step("a")), "steps[1].name: 'a' is there twice; names are unique"),
        (a_run(a_step("a"), a_step("b", needs=["a"])), "steps[1].needs: only for order: Graph; remove it"),
        (a_run(a_step("a", needs=["b"]), a_step("b"), order="Graph"), "steps[0].needs: 'b' is no step above 'a'"),
        (a_run(a_step("a", needs=["a"]), order="Graph"), "steps[0].needs: 'a' is this step itself; remove it"),
        (
            a_run(a_step("a", needs=["b"]), a_step("b", needs=["a"]), order="Graph"),
            "steps[0].needs: 'a' and 'b' need each other; remove one of the two",
        ),
        (a_run(a_step("a", needs=["x"]), order="Graph"), "steps[0].needs: 'x' is no step above 'a'; move or correct"),
        (a_run(a_step("a", timeout="6m")), "steps[0] (a): timeout: is longer than the tool's own; at most 300s"),
        (a_run(a_step("a", when="1 +")), "steps[0] (a): when: 1:4: "),
        (
            a_run(a_step("a", when="steps.a.output")),
            "steps[0] (a): when: reads steps.a, which is not above this step; move it up. Above this one: none",
        ),
        (
            a_run(a_step("a"), a_step("b", args={"x": "${steps.z.output}"})),
            "steps[1] (b): args.x: reads steps.z, and there is no such step; above this one: a",
        ),
        (
            a_run(a_step("a"), a_step("b", args={"x": "${steps.a.output}"}), order="Graph"),
            "steps[1] (b): args.x: reads steps.a, which this step does not need; add a to its `needs`",
        ),
        (
            a_run(*(a_step(f"s{n}") for n in range(12)), a_step("z", when="steps.y.state == ''")),
            "above this one: ..., s2, s3, s4, s5, s6, s7, s8, s9, s10, s11",
        ),
        (a_run(a_step("a", when="steps.map(it, it)")), "when: reads steps.map, and there is no such step"),
        (a_run(a_step("a", when="${run.goal}")), "when: is an expression as it is; write it without `${` and `}`"),
        (a_run(a_step("a", when="run.goal = 'x'")), "; to compare, write =="),
        (
            a_run(*(a_step(f"s{n}", when=f"x{n}") for n in range(5)), output={"x": "${y}"}),
            "when: unknown name 'x2'; known here: run, steps; and others in 3 more places",
        ),
        (a_run(a_step("a", when="stepz.a")), "steps[0] (a): when: unknown name 'stepz'; known here: run, steps"),
        (a_run(a_step("a", when="steps['a']")), "steps[0] (a): when: `steps` must be followed by a step's name"),
        (a_run(a_step("a", why="${x}")), "steps[0] (a): why: unknown name 'x'"),
        (a_run(a_step("a", args={"x": ["${y}"]})), "steps[0] (a): args.x[0]: unknown name 'y'"),
        (
            a_run(a_step("a", args={"x": "${run.input.m}"})),
            "steps[0] (a): args.x: there is no 'm' in run.input, which has: nothing",
        ),
        (a_run(a_step("a", args={"x": "${"})), "steps[0] (a): args.x: a `${` is not closed"),
        (
            a_run(a_step("a", args={"x": "${steps.b.output}"}), a_step("b")),
            "args.x: reads steps.b, which is not above this step; move it up",
        ),
        (a_run(a_step("a", args=DEEP)), "steps[0] (a): args: is nested more than 64 levels deep; flatten it"),
        (
            a_run(a_step("a", verify=[{"expression": "run.goal"}])),
            "steps[0] (a): verify[0].expression: unknown name",
        ),
        (a_run(a_step("a", verify=[{"expression": "("}])), "steps[0] (a): verify[0].expression: 1:2"),
        (a_run(a_step("a"), input=DEEP), "input: is nested more than 64 levels deep; flatten it"),
        (a_run(a_step("a"), output=DEEP), "output: is nested more than 64 levels deep; flatten it"),
        (
            a_run(a_step("a"), output={"x": "${steps.b.output}"}),
            "output.x: reads steps.b, and there is no such step; there are: a",
        ),
        (a_run(a_step("a"), output={"x": ["${y}"]}), "output.x[0]: unknown name 'y'"),
        (a_run(a_step("a"), output={"x": "${1 +}"}), "output.x: 1:4"),
        (
            a_run(a_step("a"), output={"x": "${run.input.idd}"}, input={"id": "1"}),
            "output.x: there is no 'idd' in run.input, which has: id",
        ),
        (
            a_run(a_step("a"), a_step("b", when="run.input.express"), input={"expres": True}),
            "steps[1] (b): when: there is no 'express' in run.input, which has: expres",
        ),
        (a_run(a_step("a", when="run.goal")), "steps[0] (a): when: must be true or false, and is: string"),
        (a_run(a_step("a", why="${run.goals}")), "steps[0] (a): why: there is no 'goals' in run, which has: goal"),
        (
            a_run(a_step("a"), a_step("b", args={"x": "${steps.a.output}", "y": "${run.input.m}"})),
            "steps[1] (b): args.y: there is no 'm' in run.input, which has: nothing",
        ),
        (
            a_run(a_step("a", verify=[{"expression": "siz(result) == 1"}])),
            "verify[0].expression: unknown function 'siz'",
        ),
        (a_run(a_step("a"), output={"x": "${ [1].map(a, [1].map(b, [1].map(c, c))) }"}), "nests comprehensions 3 deep"),
    ],
)
def test_a_run_that_can_never_work_says_why(run: AgentRun, said: str) -> None:
    assert said in refusal(run)


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ({"inputSchema": STRICT}, 'steps[0] (a): args do not fit the inputSchema of tool a: "order" is a required'),
        (
            {"inputSchema": {"properties": {"a": {"type": "strin"}}}},
            "inputSchema: properties.a.type: must be one of array, boolean, integer, null, number, object, string, ",
        ),
        ({"inputSchema": {"$ref": "file:///etc/passwd"}}, "tool a: inputSchema: Resource 'file:///etc/passwd'"),
        ({"outputSchema": {"$ref": "http://example.com/x"}}, "tool a: outputSchema: Resource 'http://example.com/x'"),
        ({"outputSchema": DEEP}, "tool a: is nested more than 64 levels deep; flatten it"),
        ({"approval": "Unless", "approvalUnless": "run.goal == ''"}, "tool a: approvalUnless: unknown name 'run'"),
        ({"approval": "Unless", "approvalUnless": "1 +"}, "tool a: approvalUnless: 1:4"),
        ({"approvalSummary": "${result}"}, "tool a: approvalSummary: unknown name 'result'; known here: args"),
        ({"approvalSummary": "${1 +}"}, "tool a: approvalSummary: 1:4"),
        (
            {"retry": {"initialBackoff": "2m", "maxBackoff": "1s"}},
            "tool a: retry.initialBackoff: is longer than maxBackoff",
        ),
        ({"settle": {"tool": "b", "happened": "run"}}, "tool a: settle.happened: unknown name 'run'"),
    ],
)
def test_a_run_whose_tool_can_never_work_says_why(tool: dict[str, Any], said: str) -> None:
    assert said in refusal(a_run(a_step("a")), a=a_tool(**tool), b=a_tool())


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ({"effect": "Idempotent", "approval": "Never"}, "b: is Idempotent; name a Tool whose effect is ReadOnly"),
        ({"effect": "NonIdempotent", "approval": "Never"}, "b: is NonIdempotent; name a Tool whose"),
        ({"approval": "Always"}, "b: asks a person; name a Tool whose approval is Never"),
        ({"approval": "Unless", "approvalUnless": "true"}, "b: asks a person; name a Tool whose approval is Never"),
        ({"settle": SETTLE}, "b: has a settle tool itself; name a Tool without one"),
        ({"approvalSummary": "${"}, "b: approvalSummary: a `${` is not closed"),
    ],
)
def test_a_run_whose_settle_tool_can_never_settle_says_why(tool: dict[str, Any], said: str) -> None:
    run = refusal(a_run(a_step("a")), a=a_tool(settle=SETTLE), b=a_tool(**tool))
    assert run.startswith(f"tool a: settle.tool: {said}")


def test_arguments_must_fit_the_settle_tool_as_well() -> None:
    run = a_run(a_step("a", args={"order": 4711}))
    said = refusal(run, a=a_tool(settle=SETTLE), b=a_tool(inputSchema=STRICT))
    assert said.startswith("steps[0] (a): args do not fit the inputSchema of tool b: order: the value is not of type")


@pytest.mark.parametrize(
    "tool",
    [
        {"inputSchema": STRICT},
        {"approval": "Unless", "approvalUnless": "args.order == '1'", "approvalSummary": "Order ${args.order}"},
        {"settle": SETTLE},
    ],
)
def test_what_can_work_begins(tool: dict[str, Any]) -> None:
    step = a_step("a", args={"order": "4711"}, when="run.input.n > 0", why="${run.goal}")
    run = a_run(step, input={"n": 1}, goal="g", output={"x": "${steps.a.output}"})
    found = decide(run, seen(tools={"a": a_tool(**tool), "b": a_tool()}))
    assert any(isinstance(it, Create) for it in found.preparations)
    assert found.status.phase is not Phase.FAILED


def test_arguments_that_read_other_steps_are_checked_when_they_are_known() -> None:
    run = a_run(a_step("a"), a_step("b", args={"order": "${steps.a.output}"}))
    assert decide(run, seen(tools={"a": a_tool(), "b": a_tool(inputSchema=STRICT)})).status.phase is Phase.RUNNING


CLOSED = {"required": ["order"], "properties": {"order": {"type": "string"}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("args", "schema", "said"),
    [
        ({"oder": "${steps.a.output}"}, STRICT, '"order" is a required property'),
        ({"order": "${steps.a.output}", "oder": 1}, CLOSED, "Additional properties are not allowed ('oder' was"),
        ({"order": "${steps.a.output}", "oder": 1}, {**CLOSED, "patternProperties": {"^o": {"type": "null"}}}, ""),
        ({"order": "${steps.a.output}", "oder": 1}, {**CLOSED, "additionalProperties": {"type": "null"}}, ""),
    ],
)
def test_the_names_of_arguments_are_checked_though_their_values_are_not_known(
    args: dict[str, Any], schema: dict[str, Any], said: str
) -> None:
    run = a_run(a_step("a"), a_step("b", args=args))
    found = decide(run, seen(tools={"a": a_tool(settle=None), "b": a_tool(inputSchema=schema)})).status
    assert (found.phase is Phase.FAILED) is bool(said)
    assert said in found.message


def test_the_names_of_arguments_must_fit_the_settle_tool_as_well() -> None:
    run = a_run(a_step("a"), a_step("b", args={"oder": "${steps.a.output}"}))
    tools = {
        "a": a_tool(),
        "b": a_tool(settle={"tool": "find", "happened": "true"}),
        "find": a_tool(inputSchema=STRICT),
    }
    said = decide(run, seen(tools=tools)).status.message
    assert said.startswith("steps[1] (b): args do not fit the inputSchema of tool find: ")


def test_what_a_step_that_is_skipped_from_the_beginning_would_be_given_may_be_missing() -> None:
    tell = a_step("tell", args={"whom": "${run.input.mail}"}, when="has(run.input.mail)")
    run = a_run(tell, a_step("b"))
    assert decide(run, seen(tools={"tell": a_tool(), "b": a_tool()})).status.phase is Phase.RUNNING


@pytest.mark.parametrize("when", ["has(run.input.mail) && steps.a.output.ok", "has(run.input.mail)"])
def test_what_a_step_that_may_be_skipped_would_be_given_may_be_missing(when: str) -> None:
    tell = a_step("tell", args={"whom": "${run.input.mail}"}, when=when)
    tools = {"a": a_tool(), "tell": a_tool(inputSchema={"required": ["whom"]})}
    assert decide(a_run(a_step("a"), tell), seen(tools=tools)).status.phase is Phase.RUNNING
    tell |= {"args": {"who": "${run.input.mail}"}}
    found = decide(a_run(a_step("a"), tell), seen(tools=tools)).status
    assert found.message.startswith("steps[1] (tell): args do not fit the inputSchema of tool tell: ")


def test_a_step_of_a_sequence_may_read_every_step_above() -> None:
    reads = {"x": "${steps.a.output}", "y": "${steps.b.output}"}
    run = a_run(a_step("a"), a_step("b"), a_step("c", args=reads))
    assert decide(run, seen(tools={name: a_tool() for name in "abc"})).status.phase is Phase.RUNNING


def test_a_step_of_a_graph_may_read_what_it_needs_through_others() -> None:
    steps = [a_step("a"), a_step("b", needs=["a"]), a_step("c", needs=["b"], args={"x": "${steps.a.output}"})]
    tools = {name: a_tool() for name in "abc"}
    assert decide(a_run(*steps, order="Graph"), seen(tools=tools)).status.phase is Phase.RUNNING
    steps[2] = a_step("c", needs=["a"], args={"x": "${steps.b.output}"})
    assert "steps[2] (c): args.x: reads steps.b" in refusal(a_run(*steps, order="Graph"))


def test_a_sequence_is_a_chain_and_a_graph_is_what_it_says() -> None:
    steps = [a_step("a"), a_step("b"), a_step("c")]
    assert direct_needs(a_run(*steps).spec) == {"a": (), "b": ("a",), "c": ("b",)}
    assert direct_needs(a_run(*steps, order="Graph").spec) == {"a": (), "b": (), "c": ()}


def test_the_first_tool_that_is_missing_is_named() -> None:
    found = decide(a_run(a_step("a"), a_step("b")), seen(tools={"a": a_tool()}))
    assert (found.status.phase, found.status.reason) == (Phase.PENDING, "WaitingForTool")
    assert "'b'" in found.status.message


def test_a_run_of_a_thousand_steps_is_planned() -> None:
    steps = [a_step(f"s{n}", tool="t", args={"n": "${run.input.n}"}) for n in range(1000)]
    found = decide(a_run(*steps, input={"n": 1}), seen(tools={"t": a_tool(inputSchema={"required": ["n"]})}))
    assert found.status.progress == "0/1000"
