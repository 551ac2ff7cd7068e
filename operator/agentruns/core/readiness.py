"""Whether runs can use a Tool: its schemas and expressions compile, said before anybody's run depends on it."""

from datetime import datetime

from agentruns.core.checks import check_tool
from agentruns.core.conditions import Fact, stated
from agentruns.core.problems import Problem, printable
from agentruns.core.resources import Tool, ToolStatus


def tool_status(tool: Tool, now: datetime) -> ToolStatus:
    """The status of a Tool; its time moves only where the answer changes."""
    facts = (Fact("Ready", "True", "Compiles"), Fact("Stalled", "False", "NotStalled"))
    try:
        check_tool(tool.spec)
    except Problem as problem:
        said = printable(str(problem))
        facts = (Fact("Ready", "False", "InvalidSpec", said), Fact("Stalled", "True", "InvalidSpec", said))
    generation = tool.metadata.generation
    conditions = stated(facts, tool.status.conditions, generation, now)
    return ToolStatus(observed_generation=generation, approval=tool.spec.asks, conditions=conditions)
