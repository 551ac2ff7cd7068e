"""Tools pinned when a run starts: what a Tool says later changes nothing about the runs that are under way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentruns.core.digests import digest, require_flat
from agentruns.core.naming import LABEL_MANAGED_BY, MANAGER, revision_name
from agentruns.core.problems import within
from agentruns.core.records import PinnedTool
from agentruns.core.resources import AgentRun, ToolSpec


class MissingToolError(LookupError):
    """A run names Tools that are not there."""

    def __init__(self, tools: list[str], namespace: str) -> None:
        super().__init__(f"there is no Tool {', '.join(map(repr, tools))} in namespace {namespace}")
        self.tools = tools


@dataclass(frozen=True)
class Pin:
    """A pinned Tool and the ControllerRevision that holds its content, shared by all runs that pin the same."""

    tool: PinnedTool
    manifest: dict[str, Any]


def pinned_tools(run: AgentRun, tools: Mapping[str, ToolSpec]) -> list[Pin]:
    """One pin for each Tool that the run names, in order of first use, then for each that settles for those.

    Raises MissingToolError if one is not there.
    """
    named = list(dict.fromkeys(step.tool for step in run.spec.steps))
    settling = [settle.tool for name in named if name in tools and (settle := tools[name].settle)]
    names = list(dict.fromkeys([*named, *settling]))
    if missing := [name for name in names if name not in tools]:
        raise MissingToolError(missing, run.metadata.namespace)
    return [_pin(run.metadata.namespace, name, tools[name]) for name in names]


def content_of(tool: ToolSpec) -> dict[str, Any]:
    """What is pinned of a Tool: its whole spec, defaults included; NotCanonicalError if it is too deep for that."""
    require_flat([tool.input_schema, tool.output_schema, tool.env, tool.egress, tool.resources])
    return tool.model_dump(mode="json", by_alias=True, exclude_none=True)


def _pin(namespace: str, name: str, tool: ToolSpec) -> Pin:
    with within(f"tool {name}"):
        content = content_of(tool)
        bound = digest(content)
    revision = revision_name(name, bound)
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": revision, "namespace": namespace, "labels": {LABEL_MANAGED_BY: MANAGER}},
        "revision": 1,
        "data": content,
    }
    return Pin(PinnedTool(name=name, revision=revision, digest=bound), manifest)
