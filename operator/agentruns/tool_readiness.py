"""One pass over one Tool: whether runs can use it is written to its status."""

from agentruns.clock import utc_now
from agentruns.cluster import TOOLS, ApiError, Cluster
from agentruns.core.naming import Key
from agentruns.core.readiness import tool_status
from agentruns.store import Store


async def reconcile_tool(key: Key, cluster: Cluster, store: Store) -> None:
    """Records whether a Tool is ready, if that is not what its status says."""
    tool = store.tools.get(key)
    if tool is None:
        return
    settle = tool.spec.settle
    there = store.tools_named(key[0], [settle.tool]) if settle else {}
    status = tool_status(tool, there.get(settle.tool) if settle else None, utc_now())
    if status == tool.status:
        return
    try:
        store.take("Tool", await cluster.put_status(TOOLS, tool.metadata, status))
    except ApiError as error:
        if error.status not in (404, 409):
            raise  # a Tool that has changed is looked at again when the change is seen
