"""What the benchmark applies."""

from datetime import UTC, datetime, timedelta
from typing import Any

from agentruns.core.inputs import Attempt
from agentruns.core.naming import API_VERSION
from agentruns.core.observed import SandboxSettings
from agentruns.core.pods import sandbox_pod
from agentruns.core.resources import AgentRun, ToolSpec

Body = dict[str, Any]
PROGRAM = "import sys; sys.stdin.read(); print(1)"


def tool(namespace: str, image: str, approval: str = "Never", name: str = "one") -> Body:
    """A Tool that answers at once."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Tool",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "description": "Answers at once.",
            "image": image,
            "command": ["python3", "-c", PROGRAM],
            "effect": "ReadOnly",
            "approval": approval,
        },
    }


def run(namespace: str, name: str, steps: int, tool_name: str = "one") -> Body:
    """A run of so many steps in sequence."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"steps": [{"name": f"s{number}", "tool": tool_name} for number in range(steps)]},
    }


def namespace(name: str) -> Body:
    """A namespace that enforces the restricted profile."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }


def sandbox(namespace: str, image: str, placement: Body | None = None) -> Body:
    """The pod that the operator would make of the tool's only call."""
    spec = ToolSpec.model_validate(tool(namespace, image)["spec"])
    metadata = {"name": "bare", "namespace": namespace, "uid": "u", "creationTimestamp": datetime.now(UTC)}
    owner = AgentRun.model_validate({"metadata": metadata, "spec": run(namespace, "bare", 1)["spec"]})
    attempt = Attempt("s0", 1, 0, spec, "r", timedelta(minutes=5), {}, '{"args":{}}', "sha256:0", "key")
    settings = SandboxSettings.model_validate(placement or {})
    return sandbox_pod(owner, attempt, datetime.now(UTC) + timedelta(minutes=5), settings)


def bare_pod(sandbox: Body, name: str) -> Body:
    """A sandbox pod made by hand: the same, without gate, finalizer and owner."""
    metadata = {"name": name, "namespace": sandbox["metadata"]["namespace"]}
    spec = {key: value for key, value in sandbox["spec"].items() if key != "schedulingGates"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
