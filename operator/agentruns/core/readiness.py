"""Whether runs can use a Tool: its schemas and expressions compile, said before anybody's run depends on it.

Ready  True: Compiles.  False: InvalidSpec, and the message names the field.
"""

from datetime import datetime

from agentruns.core.inputs import Problem
from agentruns.core.plan import check_tool
from agentruns.core.resources import Condition, Tool, ToolStatus


def tool_status(tool: Tool, now: datetime) -> ToolStatus:
    """The status of a Tool; its time moves only where the answer changes."""
    problem = _problem(tool)
    before = next((it for it in tool.status.conditions if it.type == "Ready"), None)
    truth = "False" if problem else "True"
    ready = Condition(
        type="Ready",
        status="False" if problem else "True",
        reason="InvalidSpec" if problem else "Compiles",
        message=problem[:1024],
        last_transition_time=before.last_transition_time if before and before.status == truth else now,
        observed_generation=tool.metadata.generation,
    )
    return ToolStatus(observed_generation=tool.metadata.generation, conditions=(ready,))


def _problem(tool: Tool) -> str:
    """What does not compile, without the name that everybody who reads the Tool's status sees anyway."""
    try:
        check_tool(tool.metadata.name, tool.spec)
    except Problem as problem:
        return str(problem).removeprefix(f"tool {tool.metadata.name}: ")
    return ""
