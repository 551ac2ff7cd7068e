"""The NetworkPolicies of a namespace's sandboxes: nothing in, nothing out, but what a tool's `egress` opens."""

from typing import Any

from agentruns.core.naming import (
    DENY_ALL_POLICY,
    LABEL_MANAGED_BY,
    LABEL_REVISION,
    LABEL_RUN_UID,
    MANAGER,
    egress_name,
    revision_label,
)
from agentruns.core.resources import ToolSpec


def policies_for(namespace: str, tool: ToolSpec, revision: str) -> list[dict[str, Any]]:
    """What must exist before a pod of this tool does: the denial for all sandboxes, and the tool's own opening."""
    deny = _policy(
        namespace,
        DENY_ALL_POLICY,
        {
            "podSelector": {"matchExpressions": [{"key": LABEL_RUN_UID, "operator": "Exists"}]},
            "policyTypes": ["Ingress", "Egress"],
        },
    )
    if not tool.egress:
        return [deny]
    opening = _policy(
        namespace,
        egress_name(revision),
        {
            "podSelector": {
                "matchLabels": {LABEL_REVISION: revision_label(revision)},
                "matchExpressions": [{"key": LABEL_RUN_UID, "operator": "Exists"}],
            },
            "policyTypes": ["Egress"],
            "egress": list(tool.egress),
        },
    )
    return [deny, opening]


def _policy(namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL_MANAGED_BY: MANAGER}},
        "spec": spec,
    }
