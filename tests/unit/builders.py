"""Runs, tools, pods and looks at the world, each with what a test does not care about filled in."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agentruns.core.inputs import Attempt
from agentruns.core.naming import revision_label
from agentruns.core.observed import ContainerEnd, Observed, PodSeen, ToolResult
from agentruns.core.questions import key_of
from agentruns.core.resources import AgentRun, ToolSpec

NOW: Final = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
RUN_UID: Final = "6d0f6a1c-0000-4000-8000-000000000001"
NAMESPACE: Final = "shop"
IMAGE: Final = f"registry.example/tool@sha256:{'a' * 64}"


def later(seconds: float) -> datetime:
    """The moment so many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def a_step(name: str = "lookup", /, **fields: Any) -> dict[str, Any]:
    """A step of a spec; its tool is called as it is, unless said otherwise."""
    return {"name": name, "tool": name.replace("_", "-"), **fields}


def a_run(*steps: dict[str, Any], metadata: dict[str, Any] | None = None, **spec: Any) -> AgentRun:
    """A run as the API server has just stored it; one plain step unless others are given."""
    identity = {"name": "refund-4711", "namespace": NAMESPACE, "uid": RUN_UID, "resourceVersion": "1", "generation": 1}
    return AgentRun.model_validate(
        {
            "metadata": {**identity, "creationTimestamp": NOW.isoformat(), **(metadata or {})},
            "spec": {"steps": list(steps) or [a_step()], **spec},
        }
    )


def a_tool(**spec: Any) -> ToolSpec:
    """A Tool that reads and asks nobody, unless said otherwise."""
    return ToolSpec.model_validate({"description": "Does it.", "image": IMAGE, "effect": "ReadOnly", **spec})


def an_attempt(**fields: Any) -> Attempt:
    """The first attempt of a step `lookup`."""
    plain: dict[str, Any] = {
        "step": "lookup",
        "number": 1,
        "epoch": 0,
        "tool": a_tool(),
        "revision": "lookup-0123456789abcdef",
        "timeout": timedelta(seconds=30),
        "args": {"order": "4711"},
        "input_text": '{"args":{"order":"4711"}}',
        "input_digest": f"sha256:{'b' * 64}",
        "idempotency_key": "c" * 64,
    }
    return Attempt(**(plain | fields))


def an_end(exit_code: int = 0, **fields: Any) -> ContainerEnd:
    """A container that its kubelet saw come to its end."""
    plain: dict[str, Any] = {"reason": "Error" if exit_code else "Completed", "message": "", "known": True}
    ended = {"created": True, "exit_code": exit_code, "finished_at": NOW}
    return ContainerEnd(**(plain | ended | fields))


def a_pod(**fields: Any) -> PodSeen:
    """A pod whose tool has been running for a second, unless said otherwise."""
    plain: dict[str, Any] = {
        "name": "refund-4711-lookup-0a1b2c3d-sandbox",
        "uid": "pod-1",
        "step": "lookup",
        "attempt": 1,
        "epoch": 0,
        "revision": revision_label("lookup-0123456789abcdef"),
        "input_digest": f"sha256:{'b' * 64}",
        "owner_uid": RUN_UID,
        "owner_name": "refund-4711",
        "resource_version": "7",
        "not_after": later(300),
        "gated": False,
        "finalizers": ("agentrun.dev/result",),
        "deleting": False,
        "stopping": False,
        "node": "node-1",
        "phase": "Running",
        "reason": "",
        "message": "",
        "image": IMAGE,
        "started_at": later(-1),
        "waiting_reason": "",
        "waiting_message": "",
        "end": None,
        "restarted": False,
        "disrupted": False,
    }
    return PodSeen(**(plain | fields))


def a_result(output: Any = None, **fields: Any) -> ToolResult:
    """What a tool said just now."""
    return ToolResult(NOW, output, **fields)


def seen(**fields: Any) -> Observed:
    """A look at a world in which there is nothing but what is given."""
    answers = {key_of(question): answer for question, answer in fields.pop("answers", {}).items()}
    return Observed(**{"now": NOW, "answers": answers, **fields})
