"""A namespace with all that the policies are about: accounts, a run, its Approval, its sandboxes and the rest."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agentruns.core.network import policies_for
from agentruns.core.observed import SandboxSettings
from agentruns.core.pods import Attempt, owner, sandbox_pod
from agentruns.core.resources import AgentRun, ToolSpec
from kubernetes.client import CoreV1Api, RbacAuthorizationV1Api
from kubernetes.config import new_client_from_config

from tests.cluster.toolchain import helm

from .accounts import Account, Body, person, service_account

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "agentruns"
KUBECONFIG = Path(os.environ.get("AGENTRUN_TEST_KUBECONFIG") or ROOT / ".cluster" / "kubeconfig")
SYSTEM = "agentruns-system"
RELEASE = ("agentruns", f"--namespace={SYSTEM}", f"--kubeconfig={KUBECONFIG}")
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

    def stored(self, plural: str, body: Body, by: str = "operator") -> tuple[str, ...]:
        """The place of an object that this account has made."""
        made = self.accounts[by].create(self.at(plural), body, store=True)
        assert made.status == 201, made.message
        return self.at(plural, made.body["metadata"]["name"])


def opened(namespace: str) -> Shop:
    """A shop in a new namespace, with the chart installed and its policies in force."""
    admin = new_client_from_config(str(KUBECONFIG))  # type: ignore[no-untyped-call]
    text = (Path(__file__).parent / "shop.yaml").read_text().replace("SHOP", namespace)
    subprocess.run(["kubectl", f"--kubeconfig={KUBECONFIG}", "apply", "-f", "-"], input=text, text=True, check=True)
    default = (namespace, "serviceaccounts", "default")
    until(lambda: Account(admin, {}).get(*default).status == 200, "the namespace has its default account")
    let_decide([*who_may_decide(), *(f"{namespace}:{name}" for name in MAY_DECIDE)])
    accounts = {name: service_account(admin, namespace, name) for name in SERVICE_ACCOUNTS}
    accounts |= {
        "admin": Account(admin, {}),
        "alice": person(admin, ALICE),
        "sandbox": service_account(admin, namespace, "default"),
        "operator": service_account(admin, SYSTEM, "agentruns-operator"),
    }
    run = accounts["author"].create((namespace, "agentruns"), agentrun(), store=True)
    assert run.status == 201, run.message
    shop = Shop(namespace, accounts, run.body)
    enforced(shop)
    return shop


def who_may_decide() -> list[str]:
    """The service accounts that the installed chart lists; none if there is no release."""
    command = [str(helm()), "get", "values", *RELEASE, "--all", "--output=json"]
    got = subprocess.run(command, capture_output=True, text=True, check=False)
    return list(json.loads(got.stdout)["approvals"]["serviceAccounts"]) if got.returncode == 0 else []


def let_decide(accounts: list[str]) -> None:
    """Installs or upgrades the chart so that these service accounts may decide; other values stay as they are."""
    options = ["--install", "--create-namespace", "--take-ownership", "--reset-then-reuse-values"]
    value = f"--set-json=approvals.serviceAccounts={json.dumps(accounts)}"
    subprocess.run([str(helm()), "upgrade", *RELEASE, str(CHART), *options, value], check=True)


def enforced(shop: Shop) -> None:
    """Waits until the policies do what the chart says: they take some seconds to become active."""
    forged = approval(shop.run, decision={"verdict": "Approve", "by": ALICE})
    asked = shop.stored("approvals", approval(shop.run))
    approve = {"spec": {"decision": {"verdict": "Approve"}}}
    operator, approver = shop.accounts["operator"], shop.accounts["approver"]
    until(lambda: operator.create(shop.at("approvals"), forged).refused, "a forged decision is refused")
    until(lambda: not approver.patch(asked, approve).refused, "who is listed may decide")


def closed(shop: Shop) -> None:
    """Takes everything away again."""
    let_decide([it for it in who_may_decide() if not it.startswith(f"{shop.namespace}:")])
    admin = shop.accounts["admin"]
    for pod in admin.get(*shop.at("pods")).body["items"]:
        admin.patch(shop.at("pods", pod["metadata"]["name"]), {"metadata": {"finalizers": None}}, store=True)
    CoreV1Api(admin.api).delete_namespace(shop.namespace)
    RbacAuthorizationV1Api(admin.api).delete_cluster_role_binding(f"{shop.namespace}-gitops")


def until(true: Callable[[], Any], what: str, seconds: float = 30) -> None:
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


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
