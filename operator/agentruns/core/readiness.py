"""Whether runs can use a Tool: it compiles, and its settle tool is there; said before anybody's run depends on it."""

from datetime import datetime

from agentruns.core.checks import check_settle, check_tool
from agentruns.core.conditions import Fact, stated
from agentruns.core.problems import Problem, printable
from agentruns.core.resources import Tool, ToolSpec, ToolStatus


def tool_status(tool: Tool, settles: ToolSpec | None, now: datetime) -> ToolStatus:
    """The status of a Tool, given the one that settles its doubts; its time moves only where the answer changes."""
    facts = (Fact("Ready", "True", "Compiles"), Fact("Stalled", "False", "NotStalled"))
    try:
        check_tool(tool.spec)
        if tool.spec.settle and settles:
            check_settle(tool.spec.settle, settles)
        elif tool.spec.settle:
            said = f"settle.tool: there is no Tool {tool.spec.settle.tool}; apply it"
            facts = (Fact("Ready", "False", "WaitingForTool", said), Fact("Stalled", "False", "NotStalled"))
    except Problem as problem:
        said = printable(str(problem))
        facts = (Fact("Ready", "False", "InvalidSpec", said), Fact("Stalled", "True", "InvalidSpec", said))
    generation = tool.metadata.generation
    conditions = stated(facts, tool.status.conditions, generation, now)
    return ToolStatus(observed_generation=generation, approval=tool.spec.asks, conditions=conditions)
