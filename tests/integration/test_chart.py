"""What the chart renders, as a real API server sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests import release
from tests.commands import helm, kubectl, tried_kubectl
from tests.images import SANDBOX, SANDBOX_VARIABLE, in_parts, sandbox_image
from tests.release import CHART, RELEASE
from tests.shop import Shop, tool
from tests.waiting import until

DIGEST = f"sha256:{'0' * 64}"
APIS = "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace that enforces the Pod Security Standard `restricted`."""
    name = f"chart-{uuid4().hex[:8]}"
    labels = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn")}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kubectl("create", "-f", "-", stdin=json.dumps(body))
    # Without the account of its own, the pod of `helm test` would be refused by a dry run.
    kubectl("create", "serviceaccount", "agentruns-test", "-n", name)
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
    rendered = helm("template", "agentruns", str(CHART), f"--namespace={namespace}", APIS, "--values=-", stdin=text)
    server_side = ("--server-side", "--force-conflicts", "--field-manager=helm", "--dry-run=server")
    done = tried_kubectl("apply", "-n", namespace, *server_side, "--validate=strict", "-f", "-", stdin=rendered)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("shop")
def test_the_api_server_finds_no_mistake_in_a_policy() -> None:
    """It checks every expression against the schema of what it is about, and puts its doubts into the status."""
    checked = until(lambda: type_checks(15), "every policy has been checked", 30)
    assert {name: doubts for name, doubts in checked.items() if doubts} == {}


def type_checks(number: int) -> dict[str, Any]:
    """What the API server doubts of each of our policies; nothing as long as it has not looked at all of them."""
    items = json.loads(kubectl("get", "validatingadmissionpolicies", "-o", "json"))["items"]
    ours = {it["metadata"]["name"]: it for it in items if it["metadata"]["name"].endswith("agentrun.dev")}
    assert len(ours) == number
    looked_at = [
        it
        for it in ours.values()
        if "typeChecking" in it.get("status", {}) and it["status"]["observedGeneration"] == it["metadata"]["generation"]
    ]
    return {name: it["status"]["typeChecking"] for name, it in ours.items()} if len(looked_at) == number else {}


@pytest.mark.parametrize("how", ["by digest", "as it is"] if SANDBOX_VARIABLE not in os.environ else ["by digest"])
def test_helm_test_runs_an_agentrun_where_tags_are_refused(how: str, shop: Shop) -> None:
    """A cluster that is named need not have an image of the name that the chart has by itself."""
    with release.changed(tests={"image": in_parts(sandbox_image())} if how == "by digest" else {}):
        assert "Succeeded, Completed" in helm("test", *RELEASE, "--logs", "--timeout=2m")
        assert shop.accounts["toolowner"].create(shop.at("tools"), tool(image=SANDBOX)).refused


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "docker.io/agentruns/sandbox-python:dev"),
        ({"tests": {"image": {"digest": DIGEST}}}, f"docker.io/agentruns/sandbox-python@{DIGEST}"),
        ({"global": {"imageRegistry": "mirror.example"}}, "mirror.example/agentruns/sandbox-python:dev"),
    ],
)
def test_helm_test_takes_its_image_from_where_it_is_said(values: dict[str, Any], image: str) -> None:
    show = ("template", "agentruns", str(CHART), APIS, "--show-only=templates/tests/run.yaml", "--values=-")
    assert f"--image={image}]" in helm(*show, stdin=json.dumps(values))
