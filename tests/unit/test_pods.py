"""The sandbox pod: the whole manifest, and that Kubernetes knows every field of it."""

import json
from datetime import datetime
from typing import Any

import pytest
from agentruns.core.inputs import carried, idempotency_key, tool_input
from agentruns.core.observed import SandboxSettings
from agentruns.core.pods import attempt_pod_name, sandbox_pod
from kubernetes.client import V1Pod

from tests.unit.builders import RUN_UID, a_run, a_tool, an_attempt, later

NOT_AFTER: datetime = later(300.75)
GENEROUS = SandboxSettings(
    env=({"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},),
    ca_bundle_config_map="company-ca",
    image_pull_secrets=("pull",),
    node_selector={"pool": "sandboxes"},
    tolerations=({"key": "sandboxes", "operator": "Exists"},),
    priority_class_name="low",
)
DEMANDING = a_tool(
    command=["python3", "-m", "refund", "$(SECRET)"],
    env=[
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "payments", "key": "token"}}},
        {"name": "PLAIN", "value": "$(TOKEN)"},
    ],
    resources={"limits": {"cpu": "1"}, "requests": {"memory": "64Mi"}},
    runtimeClassName="gvisor",
)


def pod(sandbox: SandboxSettings | None = None, **attempt: Any) -> dict[str, Any]:
    """The manifest of an attempt's pod."""
    return sandbox_pod(a_run(), an_attempt(**attempt), NOT_AFTER, sandbox or SandboxSettings())


def test_the_plain_pod_as_a_whole() -> None:
    assert pod() == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": attempt_pod_name(a_run(), an_attempt()),
            "namespace": "shop",
            "labels": {
                "agentrun.dev/run-uid": RUN_UID,
                "agentrun.dev/step": "lookup",
                "agentrun.dev/attempt": "1",
                "agentrun.dev/tool-revision": "54e5cd8a3d333688",
                "app.kubernetes.io/managed-by": "agentruns",
                "sidecar.istio.io/inject": "false",
            },
            "annotations": {
                "agentrun.dev/input-digest": f"sha256:{'b' * 64}",
                "agentrun.dev/not-after": "2026-01-02T12:05:00Z",
                "agentrun.dev/epoch": "0",
                "sidecar.istio.io/inject": "false",
                "linkerd.io/inject": "disabled",
            },
            "finalizers": ["agentrun.dev/result"],
            "ownerReferences": [
                {
                    "apiVersion": "agentrun.dev/v1alpha1",
                    "kind": "AgentRun",
                    "name": "refund-4711",
                    "uid": RUN_UID,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "schedulingGates": [{"name": "agentrun.dev/recorded"}],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 90,
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "tool",
                    "image": a_tool().image,
                    "imagePullPolicy": "IfNotPresent",
                    "env": [
                        {"name": "AGENTRUN_INPUT", "value": '{"args":{"order":"4711"}}'},
                        {"name": "AGENTRUN_IDEMPOTENCY_KEY", "value": "c" * 64},
                        {"name": "AGENTRUN_ATTEMPT", "value": "1"},
                        {"name": "AGENTRUN_NOT_AFTER", "value": "2026-01-02T12:05:00Z"},
                        {"name": "AGENTRUN_NONCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                    ],
                    "resources": {
                        "limits": {"cpu": "500m", "memory": "128Mi", "ephemeral-storage": "64Mi"},
                        "requests": {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "16Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "terminationMessagePolicy": "File",
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "agentrun", "mountPath": "/agentrun"},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                {"name": "agentrun", "emptyDir": {"sizeLimit": "1Mi"}},
            ],
        },
    }


def test_what_tool_and_installation_add() -> None:
    plain, asked = pod()["spec"], pod(GENEROUS, tool=DEMANDING)["spec"]
    container = asked["containers"][0]
    assert {key: asked[key] for key in asked.keys() - plain.keys()} == {
        "runtimeClassName": "gvisor",
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"pool": "sandboxes"},
        "tolerations": [{"key": "sandboxes", "operator": "Exists"}],
        "priorityClassName": "low",
    }
    assert container["args"] == ["python3", "-m", "refund", "$$(SECRET)"]
    assert container["env"][5:] == [
        {"name": "SSL_CERT_FILE", "value": "/agentrun-ca/ca.crt"},
        {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "payments", "key": "token"}}},
        {"name": "PLAIN", "value": "$$(TOKEN)"},
    ]
    assert container["resources"] == {
        "limits": {"cpu": "1", "memory": "128Mi", "ephemeral-storage": "64Mi"},
        "requests": {"memory": "64Mi", "ephemeral-storage": "16Mi"},
    }
    assert asked["volumes"][2] == {"name": "ca", "configMap": {"name": "company-ca"}}
    assert container["volumeMounts"][2] == {"name": "ca", "mountPath": "/agentrun-ca", "readOnly": True}


@pytest.mark.parametrize("manifest", [pod(), pod(GENEROUS, tool=DEMANDING)], ids=["plain", "demanding"])
def test_kubernetes_knows_every_field(manifest: dict[str, Any]) -> None:
    """The client's models forbid unknown fields, so a misspelt one is refused."""
    read = V1Pod.model_validate(manifest)
    assert json.loads(read.model_dump_json(by_alias=True, exclude_none=True)) == manifest


def test_a_misspelt_field_would_be_refused() -> None:
    manifest = pod()
    manifest["spec"]["automountServiceAcountToken"] = False
    with pytest.raises(ValueError, match="automountServiceAcountToken"):
        V1Pod.model_validate(manifest)


def test_input_arrives_as_it_is_though_the_kubelet_expands_dollars() -> None:
    run = a_run(goal="$(SECRET)")
    text = carried(tool_input(run, "lookup", {"a": "$$(X) ${run.goal} $"}), {}).text
    value = pod(input_text=text)["spec"]["containers"][0]["env"][0]["value"]
    assert value.count("$") == 2 * text.count("$")
    assert json.loads(value.replace("$$", "$")) == {
        "run": {"name": "refund-4711", "namespace": "shop", "goal": "$(SECRET)"},
        "step": "lookup",
        "idempotencyKey": idempotency_key(run, "lookup"),
        "args": {"a": "$$(X) ${run.goal} $"},
    }


def test_every_attempt_has_a_pod_of_its_own() -> None:
    attempts = [an_attempt(), an_attempt(number=2), an_attempt(epoch=1), an_attempt(step="other")]
    runs = [a_run(), a_run(metadata={"uid": "re-created"})]
    assert len({attempt_pod_name(run, attempt) for run in runs for attempt in attempts}) == 8
