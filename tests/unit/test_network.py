"""The network policies of sandboxes: nothing in, nothing out, but what a tool opens."""

import json
import re
from typing import Any

import pytest
from agentruns.core.checks import check_tool
from agentruns.core.network import policies_for
from agentruns.core.observed import SandboxSettings
from agentruns.core.pods import sandbox_pod
from agentruns.core.problems import Problem
from agentruns.core.resources import ToolSpec
from kubernetes.client import V1NetworkPolicy

from tests.unit.builders import NOW, a_run, a_tool, an_attempt

SANDBOXES = [{"key": "agentrun.dev/run-uid", "operator": "Exists"}]
RULES = [
    {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "orders"}}}], "ports": [{"port": 443}]},
    {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
]


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        ({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}, ""),
        ({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}, "11.0.0.0/16 does not lie inside 10.0.0.0/8"),
        ({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}, "10.0.0.0/8 does not lie inside 10.0.0.0/8"),
        ({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["2001:db8::/64"]}}, "2001:db8::/64 does not lie inside"),
        ({"ipBlock": {"cidr": "010.0.0.0/8", "except": ["10.0.0.0/16"]}}, "'010.0.0.0/8' does not appear to be"),
        ({"podSelector": {"matchLabels": {"app.example/name": "a"}}, "namespaceSelector": {}}, ""),
        ({"podSelector": {"matchLabels": {"bad key!": "a"}}}, "podSelector: 'bad key!' is no key of a label"),
        ({"namespaceSelector": {"matchExpressions": [{"key": "-a", "operator": "Exists"}]}}, "namespaceSelector: '-a'"),
    ],
)
def test_a_rule_that_no_policy_could_have_is_said_before_anybody_is_asked(peer: dict[str, Any], said: str) -> None:
    tool = a_tool(egress=[{"to": [{"podSelector": {}}]}, {"to": [peer]}])
    if not said:
        check_tool(tool)
        return
    with pytest.raises(Problem, match=rf"^egress\[1\]: to\[0\]: .*{re.escape(said)}"):
        check_tool(tool)


def test_without_egress_everything_is_denied() -> None:
    assert policies_for("shop", a_tool(), "lookup-0123") == [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": "agentrun-sandboxes",
                "namespace": "shop",
                "labels": {"app.kubernetes.io/managed-by": "agentruns"},
            },
            "spec": {"podSelector": {"matchExpressions": SANDBOXES}, "policyTypes": ["Ingress", "Egress"]},
        }
    ]


def test_a_tools_egress_opens_its_own_sandboxes_and_no_others() -> None:
    deny, opening = policies_for("shop", a_tool(egress=RULES), "lookup-0123")
    assert [deny] == policies_for("shop", a_tool(), "lookup-0123")
    assert opening["spec"] == {
        "podSelector": {
            "matchLabels": {"agentrun.dev/tool-revision": "7948908b50ccfd89"},
            "matchExpressions": SANDBOXES,
        },
        "policyTypes": ["Egress"],
        "egress": RULES,
    }


def test_the_opening_selects_the_pods_of_its_revision() -> None:
    opening = policies_for("shop", a_tool(egress=RULES), an_attempt().revision)[1]
    pod = sandbox_pod(a_run(), an_attempt(), NOW, SandboxSettings())
    other = sandbox_pod(a_run(), an_attempt(revision="lookup-other"), NOW, SandboxSettings())
    selected = opening["spec"]["podSelector"]["matchLabels"].items()
    assert selected <= pod["metadata"]["labels"].items()
    assert not selected <= other["metadata"]["labels"].items()


def test_every_revision_has_an_opening_of_its_own() -> None:
    names = {policies_for("shop", a_tool(egress=RULES), revision)[1]["metadata"]["name"] for revision in ("a", "b")}
    assert len(names) == 2


@pytest.mark.parametrize("tool", [a_tool(), a_tool(egress=RULES)])
def test_kubernetes_knows_every_field(tool: ToolSpec) -> None:
    for manifest in policies_for("shop", tool, "lookup-0123"):
        read = V1NetworkPolicy.model_validate(manifest)
        assert json.loads(read.model_dump_json(by_alias=True, exclude_none=True)) == manifest
