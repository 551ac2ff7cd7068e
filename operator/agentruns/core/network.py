"""The NetworkPolicies of a namespace's sandboxes: nothing in, nothing out, but what a tool's `egress` opens."""

import re
from ipaddress import ip_network
from typing import Any, Final

from agentruns.core.naming import (
    DENY_ALL_POLICY,
    LABEL_MANAGED_BY,
    LABEL_REVISION,
    LABEL_RUN_UID,
    MANAGER,
    egress_name,
    revision_label,
)
from agentruns.core.problems import Problem, within
from agentruns.core.resources import ToolSpec

_LABEL_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII
)


def check_egress(rule: dict[str, Any]) -> None:
    """Raises Problem where the API server would refuse the NetworkPolicy although it took the Tool."""
    for place, peer in enumerate(rule.get("to") or []):
        with within(f"to[{place}]"):
            _check_block(peer.get("ipBlock") or {})
            for selector in ("podSelector", "namespaceSelector"):
                _check_selector(selector, peer.get(selector) or {})


def _check_block(block: dict[str, Any]) -> None:
    for left_out in block.get("except") or []:
        try:
            whole, part = ip_network(block["cidr"], strict=False), ip_network(left_out, strict=False)
        except ValueError as error:
            raise Problem(f"ipBlock: {error}; correct it") from error
        if whole.version != part.version or part == whole or not part.subnet_of(whole):  # type: ignore[arg-type]
            raise Problem(f"ipBlock.except: {left_out} does not lie inside {block['cidr']}; correct it")


def _check_selector(name: str, selector: dict[str, Any]) -> None:
    keys = [*(selector.get("matchLabels") or {}), *(it["key"] for it in selector.get("matchExpressions") or [])]
    for key in keys:
        if not _LABEL_KEY.fullmatch(key):
            raise Problem(f"{name}: {key!r} is no key of a label; correct it")


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
