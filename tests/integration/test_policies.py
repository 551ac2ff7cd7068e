"""Who may do what, on a real API server with the chart's roles and policies: every account against every action."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from agentruns.core.collecting import with_mark

from tests.accounts import Account, Answer, Body
from tests.shop import MANAGED, SERVICE_ACCOUNTS, Shop, agentrun, approval, claim, managed, pod, sandbox, secret, tool

APPROVE: Body = {"spec": {"decision": {"verdict": "Approve"}}}
ACCOUNTS = [*SERVICE_ACCOUNTS, "admin", "alice", "sandbox", "operator"]
READERS = "author toolowner keeper viewer approver unlisted listed finance alice operator"

Action = Callable[[Shop, Account], Answer]


@pytest.fixture(scope="module", autouse=True)
def things(shop: Shop) -> None:
    """An Approval named `asked`, a Tool, a sandbox, a pod named `plain`, and what else the operator makes for a run."""
    shop.stored("approvals", approval(shop.run) | {"metadata": {"name": "asked"}})
    shop.stored("pods", sandbox(shop.run))
    shop.stored("pods", pod("plain"), by="editor")
    shop.stored("tools", tool() | {"metadata": {"name": "payments-refund"}}, by="toolowner")
    for plural, body in managed(shop.run).items():
        shop.stored(plural, body)
    shop.stored("configmaps", claim())


def in_sandbox(shop: Shop, *rest: str) -> tuple[str, ...]:
    return shop.at("pods", sandbox(shop.run)["metadata"]["name"], *rest)


def in_run(shop: Shop, *rest: str) -> tuple[str, ...]:
    return shop.at("agentruns", shop.run["metadata"]["name"], *rest)


def network_rule(name: str) -> Body:
    """One that selects nothing, and so closes nothing."""
    spec = {"podSelector": {"matchLabels": {"app": "none"}}, "policyTypes": ["Egress"]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}


def eviction(name: str) -> Body:
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}


def refund(shop: Shop) -> tuple[str, ...]:
    return shop.at("tools", "payments-refund")


def unused(shop: Shop, plural: str, name: str) -> tuple[tuple[str, ...], Body]:
    """The place of an object, and what it is when it is marked as unused."""
    place = shop.at(plural, name)
    return place, with_mark(shop.accounts["admin"].get(*place).body, "1")


DEBUG: Body = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "registry.example/debug"}]}}
LABEL: Body = {"metadata": {"labels": {"example.com/mine": "yes"}}}

# What is tried, and who may; everybody else is refused.
MATRIX: list[tuple[str, Action, str]] = [
    ("read approvals", lambda s, a: a.get(*s.at("approvals")), f"{READERS} admin gitops"),
    ("read runs", lambda s, a: a.get(*s.at("agentruns")), f"{READERS} admin gitops"),
    ("read tools", lambda s, a: a.get(*s.at("tools")), f"{READERS} admin gitops"),
    ("start a run", lambda s, a: a.create(s.at("agentruns"), agentrun()), "author admin gitops"),
    ("cancel a run", lambda s, a: a.patch(in_run(s), {"spec": {"desiredState": "Cancelled"}}), "author admin gitops"),
    ("delete a run", lambda s, a: a.delete(in_run(s)), "author admin gitops"),
    ("offer a tool", lambda s, a: a.create(s.at("tools"), tool()), "toolowner keeper admin gitops"),
    (
        "offer a tool with a secret",
        lambda s, a: a.create(s.at("tools"), tool(env=[secret("payments")])),
        "keeper admin gitops",
    ),
    ("ask for an approval", lambda s, a: a.create(s.at("approvals"), approval(s.run)), "operator"),
    ("approve", lambda s, a: a.patch(s.at("approvals", "asked"), APPROVE), "alice approver finance admin"),
    (
        "change what is asked",
        lambda s, a: a.patch(s.at("approvals", "asked"), {"spec": {"request": {"summary": "Refund 1.00 EUR"}}}),
        "",
    ),
    ("label an approval", lambda s, a: a.patch(s.at("approvals", "asked"), LABEL), ""),
    ("delete an approval", lambda s, a: a.delete(s.at("approvals", "asked")), "admin gitops"),
    (
        "write a run's status",
        lambda s, a: a.replace(in_run(s, "status"), s.with_status(in_run(s), {"phase": "Succeeded"})),
        "operator",
    ),
    (
        "write an approval's status",
        lambda s, a: a.patch(s.at("approvals", "asked", "status"), {"status": {"state": "Approved"}}),
        "operator",
    ),
    (
        "write a tool's status",
        lambda s, a: a.replace((*refund(s), "status"), s.with_status(refund(s), {"conditions": []})),
        "operator",
    ),
    ("delete a sandbox", lambda s, a: a.delete(in_sandbox(s)), "operator admin gitops"),
    ("delete another pod", lambda s, a: a.delete(s.at("pods", "plain")), "editor admin gitops"),
    ("evict a sandbox", lambda s, a: a.create(in_sandbox(s, "eviction"), eviction(in_sandbox(s)[-1])), "admin gitops"),
    (
        "evict another pod",
        lambda s, a: a.create(s.at("pods", "plain", "eviction"), eviction("plain")),
        "editor admin gitops",
    ),
    ("name a pod like a sandbox", lambda s, a: a.create(s.at("pods"), pod("r-a-0a1b2c3d-sandbox")), "admin gitops"),
    (
        "make a sandbox",
        lambda s, a: a.create(s.at("pods"), sandbox(s.run, 9)),
        "operator admin gitops",
    ),
    (
        "make another pod",
        lambda s, a: a.create(s.at("pods"), pod("another")),
        "editor admin gitops",
    ),
    (
        "make a pod a sandbox",
        lambda s, a: a.patch(s.at("pods", "plain"), {"metadata": {"labels": {"agentrun.dev/run-uid": "1"}}}),
        "admin gitops",
    ),
    (
        "take a sandbox's label away",
        lambda s, a: a.patch(in_sandbox(s), {"metadata": {"labels": {"agentrun.dev/run-uid": None}}}),
        "admin gitops",
    ),
    (
        "open a sandbox's gate",
        lambda s, a: a.patch(in_sandbox(s), [{"op": "remove", "path": "/spec/schedulingGates/0"}]),
        "operator admin gitops",
    ),
    (
        "take a sandbox's finalizer",
        lambda s, a: a.patch(in_sandbox(s), {"metadata": {"finalizers": None}}),
        "operator admin gitops",
    ),
    (
        "change a sandbox's image",
        lambda s, a: a.patch(in_sandbox(s), [{"op": "replace", "path": "/spec/containers/0/image", "value": "x"}]),
        "admin gitops",
    ),
    (
        "say how a sandbox is",
        lambda s, a: a.patch(in_sandbox(s, "status"), {"status": {"message": "all is well"}}),
        "admin gitops",  # and whoever the cluster lets write pods/status: kubelets, network plugins
    ),
    (
        "make a sandbox by its status",
        lambda s, a: a.patch(s.at("pods", "plain", "status"), {"metadata": {"labels": {"agentrun.dev/run-uid": "1"}}}),
        "admin gitops",
    ),
    ("debug a sandbox", lambda s, a: a.patch(in_sandbox(s, "ephemeralcontainers"), DEBUG), "admin gitops"),
    ("enter a sandbox", lambda s, a: a.connect(in_sandbox(s, "exec"), command="sh", stdout="1"), "admin gitops"),
    ("attach to a sandbox", lambda s, a: a.connect(in_sandbox(s, "attach"), stdout="1"), "admin gitops"),
    ("reach a sandbox's port", lambda s, a: a.connect(in_sandbox(s, "portforward"), ports="80"), "admin gitops"),
    ("enter another pod", lambda s, a: a.connect(s.at("pods", "plain", "exec"), command="sh"), "editor admin gitops"),
    ("open the network", lambda s, a: a.delete(s.at("networkpolicies", "agentrun-sandboxes")), "admin gitops"),
    (
        "be there before the operator's network rules",
        lambda s, a: a.create(s.at("networkpolicies"), network_rule("agentrun-egress-1")),
        "admin gitops",
    ),
    (
        "make another network rule",
        lambda s, a: a.create(s.at("networkpolicies"), network_rule("mine")),
        "editor admin gitops",
    ),
    (
        "change a network rule",
        lambda s, a: a.patch(s.at("networkpolicies", "agentrun-sandboxes"), {"spec": {"policyTypes": ["Ingress"]}}),
        "admin gitops",
    ),
    (
        "mark a network rule as unused",
        lambda s, a: a.replace(*unused(s, "networkpolicies", "agentrun-sandboxes")),
        "operator admin gitops",
    ),
    (
        "mark a pinned tool as unused",
        lambda s, a: a.replace(*unused(s, "controllerrevisions", "payments-refund-1")),
        "operator admin gitops",
    ),
    ("change an output", lambda s, a: a.patch(s.at("configmaps", "payments-refund-1"), {"data": {}}), "admin gitops"),
    (
        "say what came of a task",
        lambda s, a: a.replace(s.at("configmaps", "agentrun-task-1"), claim() | {"data": {"state": "Succeeded"}}),
        "operator admin gitops",
    ),
    ("free a task", lambda s, a: a.delete(s.at("configmaps", "agentrun-task-1")), "admin gitops"),
    (
        "take the name of a task's claim",
        lambda s, a: a.create(
            s.at("configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "agentrun-task-2"}}
        ),
        "admin gitops",
    ),
    ("unpin a tool", lambda s, a: a.delete(s.at("controllerrevisions", "payments-refund-1")), "admin gitops"),
    (
        "make an object look like the operator's",
        lambda s, a: a.create(
            s.at("configmaps"),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "labels": MANAGED}},
        ),
        "operator admin gitops",
    ),
]


@pytest.mark.parametrize(("action", "allowed"), [row[1:] for row in MATRIX], ids=[row[0] for row in MATRIX])
def test_the_matrix(shop: Shop, action: Action, allowed: str) -> None:
    answers = {name: action(shop, shop.accounts[name]) for name in ACCOUNTS}
    assert [answer.message for answer in answers.values() if "resulted in error" in answer.message] == []
    assert {name: answers[name].message for name in allowed.split() if answers[name].refused} == {}
    assert {name for name, answer in answers.items() if not answer.refused} == set(allowed.split())


def test_the_rule_that_closes_all_sandboxes_stays_though_it_is_marked(shop: Shop) -> None:
    operator, place = shop.accounts["operator"], shop.at("networkpolicies", "agentrun-sandboxes")
    assert operator.replace(*unused(shop, "networkpolicies", "agentrun-sandboxes"), store=True).status == 200
    assert "never the rule that closes all sandboxes" in operator.delete(place).message
