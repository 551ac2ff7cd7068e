"""NetworkPolicies: there before the pod, for sandboxes alone, closed both ways but for what the Tool opens."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.accounts import Body
from tests.commands import kubectl
from tests.shop import pod
from tests.space import ECHO, Space, step

EGRESS = [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443, "protocol": "TCP"}]}]
PLACES = {"pods": "/api/v1", "networkpolicies": "/apis/networking.k8s.io/v1"}


@dataclass(frozen=True)
class Opened:
    """The space of a run of two tools, one of which may reach something, and what was made in it, in order."""

    space: Space
    made: list[Body]

    def policies(self) -> dict[str, Body]:
        """The specs of the NetworkPolicies by name."""
        return {it["metadata"]["name"]: it["spec"] for it in self.space.all("networkpolicies")}

    def version(self, name: str) -> int:
        """Where in the order of all changes an object was made."""
        [made] = [it for it in self.made if it["metadata"]["name"] == name]
        return int(made["metadata"]["resourceVersion"])

    def selected(self, spec: Body) -> set[str]:
        """The pods that a policy is about, as the API server selects them."""
        terms = [f"{key}={value}" for key, value in spec["podSelector"].get("matchLabels", {}).items()]
        terms += [it["key"] for it in spec["podSelector"].get("matchExpressions", []) if it["operator"] == "Exists"]
        where = (f"--namespace={self.space.name}", f"--selector={','.join(terms)}")
        return set(kubectl("get", "pods", *where, "--output=jsonpath={.items[*].metadata.name}").split())


def made_since(space: Space, plural: str, version: str) -> list[Body]:
    """The objects made since then, as they were when they were made."""
    place = f"{PLACES[plural]}/namespaces/{space.name}/{plural}"
    changes = kubectl("get", "--raw", f"{place}?watch=true&resourceVersion={version}&timeoutSeconds=1").splitlines()
    return [it["object"] for it in map(json.loads, changes) if it["type"] == "ADDED"]


@pytest.fixture(scope="module")
def opened(shared_space: Space) -> Opened:
    """The end of a run, beside a pod that has nothing to do with runs."""
    space = shared_space
    listed = space.admin.get(space.name, "pods").body["metadata"]["resourceVersion"]
    space.admin.create((space.name, "pods"), pod("other"), store=True)
    space.tool("closed", ECHO)
    space.tool("open", ECHO, egress=EGRESS)
    space.start("reaches", step("inside", "closed"), step("outside", "open"))
    assert space.ended("reaches")["phase"] == "Succeeded"
    return Opened(space, [it for plural in PLACES for it in made_since(space, plural, listed)])


def pod_of(opened: Opened, step: str) -> str:
    [found] = opened.space.pods("reaches", step)
    return str(found["metadata"]["name"])


def test_there_is_one_denial_and_one_opening(opened: Opened) -> None:
    policies = opened.policies()
    assert {name.rpartition("-")[0] for name in policies} == {"agentrun", "agentrun-egress"}
    assert policies["agentrun-sandboxes"].keys() == {"podSelector", "policyTypes"}
    assert policies["agentrun-sandboxes"]["policyTypes"] == ["Ingress", "Egress"]
    [opening] = [spec for name, spec in policies.items() if name != "agentrun-sandboxes"]
    assert (opening["policyTypes"], opening["egress"], "ingress" in opening) == (["Egress"], EGRESS, False)


def test_they_are_about_sandboxes_alone(opened: Opened) -> None:
    inside, outside = pod_of(opened, "inside"), pod_of(opened, "outside")
    about = {name: opened.selected(spec) for name, spec in opened.policies().items()}
    assert about.pop("agentrun-sandboxes") == {inside, outside}
    assert list(about.values()) == [{outside}]


def test_they_are_there_before_the_pod(opened: Opened) -> None:
    assert opened.version("agentrun-sandboxes") < opened.version(pod_of(opened, "inside"))
    assert max(map(opened.version, opened.policies())) < opened.version(pod_of(opened, "outside"))
