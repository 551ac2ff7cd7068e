"""What the API calls of the operator are called: a verb, a kind, and what distinguishes calls that look alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentruns.cluster import CONFIG_MAPS, EVENTS, LEASES, WATCHED

_KINDS = {it.plural: it.kind for it in (*WATCHED, CONFIG_MAPS, EVENTS, LEASES)}
_VERBS = {"GET": "get", "POST": "create", "PUT": "put", "PATCH": "patch", "DELETE": "delete"}
_DEEDS = {"schedulingGates": "ungate", "finalizers": "release", "activeDeadlineSeconds": "stop"}
"""The verb for a patch of a pod, by the field that its last operation changes."""


def name_of(method: str, path: str, body: Any, query: Mapping[str, Any]) -> str:
    """The name of a call, such as `create Pod`, `put AgentRun/status`, `ungate Pod` or `follow Pod/log`."""
    plural, name, *subresource = [*_within_namespace(path), "", ""][:3]
    kind = "/".join([_KINDS.get(plural, plural), *filter(None, subresource)])
    return f"{_verb(method, name, body, query)} {kind}"


def is_write(name: str) -> bool:
    """Whether a call of this name changes something that belongs to a run; an Event only tells of it, a Lease of us."""
    verb, _, kind = name.partition(" ")
    return verb not in ("get", "list", "follow", "try") and kind not in ("Event", "Lease")


def _within_namespace(path: str) -> list[str]:
    """Plural, name and subresource; of a collection in all namespaces only the plural."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    return rest[2:] if rest[0] == "namespaces" and len(rest) > 2 else rest


def _verb(method: str, name: str, body: Any, query: Mapping[str, Any]) -> str:
    if query.get("dryRun"):
        return "try"
    if query.get("follow") == "true":
        return "follow"
    if method == "GET" and not name:
        return "list"
    if method == "PATCH" and isinstance(body, list):
        changed = str(body[-1]["path"]).split("/")
        return next((deed for field, deed in _DEEDS.items() if field in changed), "patch")
    return _VERBS[method]
