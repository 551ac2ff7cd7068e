"""Whether a Tool can be used is said on the Tool itself."""

from typing import Any

import pytest
from agentruns.core.readiness import tool_status
from agentruns.core.resources import Tool

from tests.unit.builders import NOW, a_run, a_tool, later

SETTLE = {"tool": "find", "happened": "result.found"}


def stored(**spec: Any) -> Tool:
    """A Tool of the third generation."""
    metadata = a_run().metadata.model_copy(update={"name": "refund", "generation": 3})
    return Tool(metadata=metadata, spec=a_tool(**spec))


def test_a_tool_that_compiles_is_ready() -> None:
    assert tool_status(stored(), None, NOW).body() == {
        "observedGeneration": 3,
        "approval": "Never",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Compiles",
                "lastTransitionTime": "2026-01-02T12:00:00.000Z",
                "observedGeneration": 3,
            },
            {
                "type": "Stalled",
                "status": "False",
                "reason": "NotStalled",
                "lastTransitionTime": "2026-01-02T12:00:00.000Z",
                "observedGeneration": 3,
            },
        ],
    }


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"inputSchema": {"type": "strin"}}, "inputSchema: type: "),
        ({"approvalSummary": "${"}, "approvalSummary: a `${` is not closed"),
    ],
)
def test_a_tool_that_does_not_compile_names_the_field(spec: dict[str, Any], said: str) -> None:
    ready = tool_status(stored(**spec), None, NOW).conditions[0]
    assert (ready.status, ready.reason) == ("False", "InvalidSpec")
    assert ready.message.startswith(said)


def test_a_tool_waits_for_the_one_that_settles_its_doubts() -> None:
    tool = stored(settle=SETTLE)
    ready, stalled = tool_status(tool, None, NOW).conditions
    assert (ready.status, ready.reason, stalled.status) == ("False", "WaitingForTool", "False")
    assert ready.message == "settle.tool: there is no Tool find; apply it"
    assert tool_status(tool, a_tool(), NOW).conditions[0].status == "True"


def test_a_tool_whose_settle_tool_cannot_settle_is_not_ready() -> None:
    ready = tool_status(stored(settle=SETTLE), a_tool(effect="NonIdempotent"), NOW).conditions[0]
    assert (ready.status, ready.reason) == ("False", "InvalidSpec")
    assert ready.message == "settle.tool: find: is NonIdempotent; name a Tool whose effect is ReadOnly"


def test_its_time_moves_only_when_the_answer_changes() -> None:
    tool = stored()
    tool = tool.model_copy(update={"status": tool_status(tool, None, NOW)})
    assert tool_status(tool, None, later(60)) == tool.status
    broken = tool.model_copy(update={"spec": a_tool(approvalSummary="${")})
    assert tool_status(broken, None, later(60)).conditions[0].last_transition_time == later(60)
