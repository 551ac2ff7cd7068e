"""Whether a Tool can be used is said on the Tool itself."""

from typing import Any

import pytest
from agentruns.core.readiness import tool_status
from agentruns.core.resources import Tool

from tests.unit.builders import NOW, a_run, a_tool, later


def stored(**spec: Any) -> Tool:
    """A Tool of the third generation."""
    metadata = a_run().metadata.model_copy(update={"name": "refund", "generation": 3})
    return Tool(metadata=metadata, spec=a_tool(**spec))


def test_a_tool_that_compiles_is_ready() -> None:
    assert tool_status(stored(), NOW).body() == {
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
    ready = tool_status(stored(**spec), NOW).conditions[0]
    assert (ready.status, ready.reason) == ("False", "InvalidSpec")
    assert ready.message.startswith(said)


def test_its_time_moves_only_when_the_answer_changes() -> None:
    tool = stored()
    tool = tool.model_copy(update={"status": tool_status(tool, NOW)})
    assert tool_status(tool, later(60)) == tool.status
    broken = tool.model_copy(update={"spec": a_tool(approvalSummary="${")})
    assert tool_status(broken, later(60)).conditions[0].last_transition_time == later(60)
