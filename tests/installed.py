"""The operator as it is installed: its metrics, its log, and whether it runs."""

from __future__ import annotations

import re

from tests.commands import kubectl
from tests.release import SYSTEM

IN_SYSTEM = f"--namespace={SYSTEM}"
DEPLOYMENT = ("deployment/agentruns-operator", IN_SYSTEM)


def pod_names() -> list[str]:
    """The operator's pods: one, but for moments while it is replaced."""
    selector = "--selector=app.kubernetes.io/component=operator"
    return kubectl("get", "pods", IN_SYSTEM, selector, "--output=jsonpath={.items[*].metadata.name}").split()


def restarts() -> tuple[str, str]:
    """Which pod the operator runs in, and how often its container has been started again."""
    [name] = pod_names()
    path = "--output=jsonpath={.status.containerStatuses[0].restartCount}"
    return name, kubectl("get", "pod", name, IN_SYSTEM, path)


def metrics() -> str:
    """What Prometheus would read."""
    [name] = pod_names()
    return kubectl("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/metrics")


def metric(name: str) -> float:
    """The value of a metric without labels."""
    return value_in(metrics(), name)


def value_in(text: str, name: str) -> float:
    """The value of a metric without labels, in what an operator serves."""
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found, f"there is no metric {name}"
    return float(found[1])


def log() -> str:
    """All that the operator has logged since its pod began."""
    return kubectl("logs", *DEPLOYMENT)


def rolled_out() -> None:
    """Returns once the operator is there and ready."""
    kubectl("rollout", "status", *DEPLOYMENT, "--timeout=120s")
