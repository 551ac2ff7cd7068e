"""What the chart renders, as a real API server sees it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.toolchain import helm

from .shop import CHART, KUBECONFIG

APIS = "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"


def kubectl(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = ["kubectl", f"--kubeconfig={KUBECONFIG}", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace that enforces the Pod Security Standard `restricted`."""
    name = f"chart-{uuid4().hex[:8]}"
    labels = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn")}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    assert kubectl("create", "-f", "-", stdin=json.dumps(body)).returncode == 0
    # Without the account of its own, the pod of `helm test` would be refused by a dry run.
    assert kubectl("create", "serviceaccount", "agentruns-test", "-n", name).returncode == 0
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"watchNamespaces": ["HERE"], "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]},
        {"tools": {"allowTags": True, "allowedImagePrefixes": ["a.example/"]}, "rbac": {"aggregateToEdit": True}},
    ],
)
def test_all_of_it_is_valid_and_no_reason_for_a_warning(namespace: str, values: dict[str, Any]) -> None:
    text = json.dumps(values).replace("HERE", namespace)
    command = [str(helm()), "template", "agentruns", str(CHART), f"--namespace={namespace}", APIS, "--values=-"]
    rendered = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    options = [
        "--server-side",
        "--force-conflicts",
        "--field-manager=helm",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    ]
    done = kubectl("apply", "-n", namespace, *options, stdin=rendered)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("shop")
def test_the_api_server_finds_no_mistake_in_a_policy() -> None:
    """It checks every expression against the schema of what it is about, and puts its doubts into the status."""
    items = json.loads(kubectl("get", "validatingadmissionpolicies", "-o", "json").stdout)["items"]
    ours = {it["metadata"]["name"]: it["status"] for it in items if it["metadata"]["name"].endswith("agentrun.dev")}
    assert len(ours) == 11
    assert {name: status["typeChecking"] for name, status in ours.items() if status["typeChecking"]} == {}
