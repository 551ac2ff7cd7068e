"""The sandbox pod of one attempt, as a manifest that reads like YAML."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from agentruns.core.attempts import GRACE, OVERTIME
from agentruns.core.files import File, file_name
from agentruns.core.inputs import Attempt
from agentruns.core.model import whole_seconds
from agentruns.core.naming import (
    ANNOTATION_EPOCH,
    ANNOTATION_INPUT_DIGEST,
    ANNOTATION_NOT_AFTER,
    FILES_DIRECTORY,
    FINALIZER_RESULT,
    GATE_RECORDED,
    LABEL_ATTEMPT,
    LABEL_MANAGED_BY,
    LABEL_REVISION,
    LABEL_RUN_UID,
    LABEL_STEP,
    MANAGER,
    SANDBOX_CONTAINER,
    pod_name,
    revision_label,
)
from agentruns.core.observed import SandboxSettings
from agentruns.core.resources import AgentRun, ToolSpec, owner

USER: Final = 65532
DEFAULT_LIMITS: Final = {"cpu": "500m", "memory": "128Mi", "ephemeral-storage": "64Mi"}
DEFAULT_REQUESTS: Final = {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "16Mi"}
CA_DIRECTORY: Final = "/agentrun-ca"


def attempt_pod_name(run: AgentRun, attempt: Attempt) -> str:
    """The one name that the pod of this attempt may have."""
    identity = (run.metadata.uid, attempt.step, str(attempt.epoch), str(attempt.number))
    return pod_name(run.metadata.name, attempt.step, *identity)


def sandbox_pod(run: AgentRun, attempt: Attempt, not_after: datetime, sandbox: SandboxSettings) -> dict[str, Any]:
    """The gated pod of one attempt: it is stored, and nothing can run it before its gate is taken away."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(run, attempt, not_after),
        "spec": {
            "schedulingGates": [{"name": GATE_RECORDED}],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int((attempt.timeout + OVERTIME).total_seconds()),
            "terminationGracePeriodSeconds": int(GRACE.total_seconds()),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(attempt, not_after, sandbox)],
            "volumes": _volumes(sandbox, attempt.files),
            **_placement(attempt.tool, sandbox),
        },
    }


def _metadata(run: AgentRun, attempt: Attempt, not_after: datetime) -> dict[str, Any]:
    return {
        "name": attempt_pod_name(run, attempt),
        "namespace": run.metadata.namespace,
        "labels": {
            LABEL_RUN_UID: run.metadata.uid,
            LABEL_STEP: attempt.step,
            LABEL_ATTEMPT: str(attempt.number),
            LABEL_REVISION: revision_label(attempt.revision),
            LABEL_MANAGED_BY: MANAGER,
            "sidecar.istio.io/inject": "false",
        },
        "annotations": {
            ANNOTATION_INPUT_DIGEST: attempt.input_digest,
            ANNOTATION_NOT_AFTER: whole_seconds(not_after),
            ANNOTATION_EPOCH: str(attempt.epoch),
            "sidecar.istio.io/inject": "false",
            "linkerd.io/inject": "disabled",
        },
        "finalizers": [FINALIZER_RESULT],
        "ownerReferences": [owner(run)],
    }


def _container(attempt: Attempt, not_after: datetime, sandbox: SandboxSettings) -> dict[str, Any]:
    return {
        "name": SANDBOX_CONTAINER,
        "image": attempt.tool.image,
        "imagePullPolicy": "IfNotPresent",
        **({"args": [_literal(word) for word in attempt.tool.command]} if attempt.tool.command else {}),
        "env": [
            {"name": "AGENTRUN_INPUT", "value": _literal(attempt.input_text)},
            {"name": "AGENTRUN_IDEMPOTENCY_KEY", "value": attempt.idempotency_key},
            {"name": "AGENTRUN_ATTEMPT", "value": str(attempt.number)},
            {"name": "AGENTRUN_NOT_AFTER", "value": whole_seconds(not_after)},
            {"name": "AGENTRUN_NONCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            *_ca_variables(sandbox),
            *sandbox.env,
            *(_variable(it) for it in attempt.tool.env),
        ],
        "resources": _resources(attempt.tool),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "File",
        "volumeMounts": _mounts(sandbox, attempt.files),
    }


def _literal(text: str) -> str:
    """A text that the kubelet hands on as it is: it would expand `$(NAME)`, and `$$` is its escape."""
    return text.replace("$", "$$")


def _variable(variable: dict[str, Any]) -> dict[str, Any]:
    """A tool's own variable, its value as it stands: what an approver saw is what the program gets."""
    return variable | {"value": _literal(variable["value"])} if "value" in variable else variable


def _resources(tool: ToolSpec) -> dict[str, Any]:
    """Limits on everything; a request is only added where neither limit nor request of that kind was given."""
    limits, requests = tool.resources.get("limits") or {}, tool.resources.get("requests") or {}
    free = {kind: amount for kind, amount in DEFAULT_REQUESTS.items() if kind not in limits}
    return {"limits": DEFAULT_LIMITS | limits, "requests": free | requests}


def _volumes(sandbox: SandboxSettings, files: Sequence[File]) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": "agentrun", "emptyDir": {"sizeLimit": "1Mi"}},
    ]
    if sandbox.ca_bundle_config_map:
        volumes.append({"name": "ca", "configMap": {"name": sandbox.ca_bundle_config_map}})
    if files:
        volumes.append({"name": "files", "projected": {"sources": _sources(files)}})
    return volumes


def _sources(files: Sequence[File]) -> list[dict[str, Any]]:
    """Each stored output of which a file is made, once; its kubelet waits for one that is not there."""
    outputs = {file.part.step: file.part.ref for file in files}
    return [
        {"configMap": {"name": ref.name, "items": [{"key": ref.key, "path": file_name(step)}]}}
        for step, ref in outputs.items()
    ]


def _mounts(sandbox: SandboxSettings, files: Sequence[File]) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "agentrun", "mountPath": "/agentrun"},
    ]
    if sandbox.ca_bundle_config_map:
        mounts.append({"name": "ca", "mountPath": CA_DIRECTORY, "readOnly": True})
    if files:
        mounts.append({"name": "files", "mountPath": FILES_DIRECTORY, "readOnly": True})
    return mounts


def _ca_variables(sandbox: SandboxSettings) -> list[dict[str, Any]]:
    return [{"name": "SSL_CERT_FILE", "value": f"{CA_DIRECTORY}/ca.crt"}] if sandbox.ca_bundle_config_map else []


def _placement(tool: ToolSpec, sandbox: SandboxSettings) -> dict[str, Any]:
    """Where the pod may run, with nothing said where nothing is asked for."""
    asked: dict[str, Any] = {
        "runtimeClassName": tool.runtime_class_name,
        "imagePullSecrets": [{"name": name} for name in sandbox.image_pull_secrets],
        "nodeSelector": sandbox.node_selector,
        "tolerations": list(sandbox.tolerations),
        "priorityClassName": sandbox.priority_class_name,
    }
    return {key: value for key, value in asked.items() if value}
