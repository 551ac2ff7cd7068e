"""A namespace with all that the policies are about: accounts, a run, its Approval, its sandboxes and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agentruns.core.inputs import Attempt
from agentruns.core.network import policies_for
from agentruns.core.observed import SandboxSettings
from agentruns.core.pods import sandbox_pod
from agentruns.core.resources import AgentRun, ToolSpec, owner
from kubernetes.config import new_client_from_config

from tests import release
from tests.accounts import Account, Body, person, service_account
from tests.cluster.places import KUBECONFIG
from tests.commands import kubectl
from tests.installed import SYSTEM
from tests.waiting import until

OPERATOR = f"system:serviceaccount:{SYSTEM}:agentruns-operator"
ALICE = "alice@example.com"
DIGEST = "sha256:" + "0" * 64
MANAGED = {"app.kubernetes.io/managed-by": "agentruns"}
ROLES = ("author", "toolowner", "keeper", "viewer", "approver", "unlisted", "listed", "finance", "editor")
SERVICE_ACCOUNTS = (*ROLES, "gitops", "stranger")
MAY_DECIDE = ("approver", "listed", "finance")


@dataclass(frozen=True)
class Shop:
    """A namespace, who is there, and its one run."""

    namespace: str
    accounts: dict[str, Account]
    run: Body

    def at(self, plural: str, *rest: str) -> tuple[str, ...]:
        """The place of a kind, of an object or of its subresource."""
        return (self.namespace, plural, *rest)

    def as_person(self, name: str) -> Account:
        return person(self.accounts["admin"].api, name)

    def with_status(self, place: tuple[str, ...], status: Body) -> Body:
        """The object at a place as it is now, with another status."""
        return self.accounts["admin"].get(*place).body | {"status": status}

    def stored(self, plural: str, body: Body, by: str = "operator") -> tuple[str, ...]:
        """The place of an object that this account has made."""
        made = self.accounts[by].create(self.at(plural), body, store=True)
        assert made.status == 201, made.message
        return self.at(plural, made.body["metadata"]["name"])


@contextmanager
def opened(namespace: str) -> Iterator[Shop]:
    """A shop in a new namespace, with the chart's policies in force; nothing of it is left."""
    admin = Account(new_client_from_config(str(KUBECONFIG)), {})  # type: ignore[no-untyped-call]
    with release.changed(**strict(namespace)), accounts(admin, namespace) as people:
        run = people["author"].create((namespace, "agentruns"), agentrun(), store=True)
        assert run.status == 201, run.message
        shop = Shop(namespace, people, run.body)
        enforced(shop)
        yield shop


def strict(namespace: str) -> release.Values:
    """What a shop sets in the chart: all as strict as it is by default, but that some of the shop may decide."""
    return {"tools": {}, "approvals": {"serviceAccounts": [f"{namespace}:{name}" for name in MAY_DECIDE]}}


@contextmanager
def accounts(admin: Account, namespace: str) -> Iterator[dict[str, Account]]:
    """Everybody who is there, and their rights."""
    text = Path(__file__).with_name("shop.yaml").read_text().replace("SHOP", namespace)
    try:
        kubectl("apply", "-f", "-", stdin=text)
        until(lambda: admin.get(namespace, "serviceaccounts", "default").status == 200, "there is a default account")
        yield {
            **{name: service_account(admin.api, namespace, name) for name in SERVICE_ACCOUNTS},
            "admin": admin,
            "alice": person(admin.api, ALICE),
            "sandbox": service_account(admin.api, namespace, "default"),
            "operator": service_account(admin.api, SYSTEM, "agentruns-operator"),
        }
    finally:
        for it in admin.get(namespace, "pods").body["items"]:
            admin.patch((namespace, "pods", it["metadata"]["name"]), {"metadata": {"finalizers": None}}, store=True)
        kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=text)


def enforced(shop: Shop) -> None:
    """Waits until the policies do what the chart says: they take some seconds to become active."""
    forged = approval(shop.run, decision={"verdict": "Approve", "by": ALICE})
    asked = shop.stored("approvals", approval(shop.run))
    approve = {"spec": {"decision": {"verdict": "Approve"}}}
    operator, approver, toolowner = (shop.accounts[name] for name in ("operator", "approver", "toolowner"))
    until(lambda: operator.create(shop.at("approvals"), forged).refused, "a forged decision is refused")
    until(lambda: not approver.patch(asked, approve).refused, "who is listed may decide")
    until(lambda: toolowner.create(shop.at("tools"), tool(image="refund:1")).refused, "an image by tag is refused")


@contextmanager
def chart_changed(shop: Shop, **change: Any) -> Iterator[None]:
    """Some of the chart's values replaced; afterwards it is as it was, and as strict."""
    try:
        with release.changed(**change):
            yield
    finally:
        enforced(shop)


def put_back(shop: Shop, values: release.Values) -> None:
    """Installs the chart as it was, whatever became of it; its operator may have another account of the same name."""
    release.install(values)
    shop.accounts["operator"] = service_account(shop.accounts["admin"].api, SYSTEM, "agentruns-operator")
    enforced(shop)


def agentrun(**spec: Any) -> Body:
    """A run that does nothing, whoever watches it."""
    body = {"desiredState": "Paused", "steps": [{"name": "refund", "tool": "payments-refund"}]} | spec
    return {"apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": {"generateName": "r-"}, "spec": body}


def tool(**spec: Any) -> Body:
    body = {"description": "Refunds an order.", "image": f"registry.example/refund@{DIGEST}"} | spec
    return {"apiVersion": "agentrun.dev/v1alpha1", "kind": "Tool", "metadata": {"generateName": "t-"}, "spec": body}


def secret(name: str, kind: str = "secret") -> Body:
    """A variable of a Tool that comes from a Secret, or from a ConfigMap."""
    variable = f"{kind}_{name}".replace("-", "_").upper()
    return {"name": variable, "valueFrom": {f"{kind}KeyRef": {"name": name, "key": "token"}}}


def approval(run: Body, **spec: Any) -> Body:
    body = {
        "runRef": {key: run["metadata"][key] for key in ("name", "uid")},
        "step": "refund",
        "tool": "payments-refund",
        "purpose": "Effect",
        "digest": DIGEST,
        "request": {"summary": "Refund 12.50 EUR of order 4711"},
    }
    metadata = {"generateName": "a-", "ownerReferences": [owner(AgentRun.model_validate(run))]}
    return {"apiVersion": "agentrun.dev/v1alpha1", "kind": "Approval", "metadata": metadata, "spec": body | spec}


def claim(name: str = "agentrun-task-1") -> Body:
    """What the operator keeps of a task."""
    metadata = {"name": name, "labels": MANAGED | {"agentrun.dev/task": "1"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"state": "InFlight"}}


def sandbox(run: Body, attempt: int = 1) -> Body:
    """The pod of an attempt, exactly as the operator makes it."""
    refund = Attempt(
        step="refund",
        number=attempt,
        epoch=0,
        tool=ToolSpec.model_validate(tool()["spec"]),
        revision="payments-refund-1",
        timeout=timedelta(minutes=5),
        args={},
        input_text="{}",
        input_digest=DIGEST,
        idempotency_key="5c1f",
    )
    return sandbox_pod(AgentRun.model_validate(run), refund, datetime.now(UTC), SandboxSettings())


def pod(name: str) -> Body:
    """A pod that has nothing to do with runs, and waits for ever."""
    spec = {"containers": [{"name": "c", "image": "c"}], "schedulingGates": [{"name": "example.com/gate"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def managed(run: Body) -> dict[str, Body]:
    """What else the operator makes for a run, each by its plural."""
    [policy] = policies_for(run["metadata"]["namespace"], ToolSpec.model_validate(tool()["spec"]), "payments-refund-1")
    metadata = {"name": "payments-refund-1", "labels": MANAGED}
    revision = {"data": tool()["spec"], "revision": 1}
    return {
        "networkpolicies": policy,
        "configmaps": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"output.json": "{}"}},
        "controllerrevisions": {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata} | revision,
    }
