"""Whether runs can use a Tool: its schemas and expressions compile, said before anybody's run depends on it.

Ready  True: Compiles.  False: InvalidSpec, and the message names the field.
"""

from datetime import datetime

from agentruns.core.checks import check_tool
from agentruns.core.conditions import Fact, stated
from agentruns.core.problems import Problem, printable
from agentruns.core.resources import Tool, ToolStatus


def tool_status(tool: Tool, now: datetime) -> ToolStatus:
    """The status of a Tool; its time moves only where the answer changes."""
    fact = Fact("Ready", "True", "Compiles")
    try:
        check_tool(tool.spec)
    except Problem as problem:
        fact = Fact("Ready", "False", "InvalidSpec", printable(str(problem)))
    generation = tool.metadata.generation
    conditions = stated([fact], tool.status.conditions, generation, now)
    return ToolStatus(observed_generation=generation, approval=tool.spec.asks, conditions=conditions)
