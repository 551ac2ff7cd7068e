"""The operator as it is installed: its metrics, its log, and whether it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.commands import kubectl, tried_kubectl
from tests.waiting import until

SYSTEM = "agentruns-system"
IN_SYSTEM = f"--namespace={SYSTEM}"
OPERATORS = "--selector=app.kubernetes.io/component=operator"
LEASE = "lease/agentruns-operator"
DEPLOYMENT = ("deployment/agentruns-operator", IN_SYSTEM)


def pod_names() -> list[str]:
    """The operator's pods, those that are just going too."""
    return [it["metadata"]["name"] for it in _pods()]


def restarts() -> dict[str, int]:
    """How often the container of each of the operator's pods has been started again."""
    staying = [it for it in _pods() if "deletionTimestamp" not in it["metadata"]]
    return {it["metadata"]["name"]: it["status"]["containerStatuses"][0]["restartCount"] for it in staying}


def _pods() -> list[dict[str, Any]]:
    return list(json.loads(kubectl("get", "pods", IN_SYSTEM, OPERATORS, "--output=json"))["items"])


def leader() -> str:
    """The pod of the operator that works, once one does."""
    return until(lambda: holder() if holder() in pod_names() else None, "an operator leads", 60)


def holder() -> str:
    """Who holds the Lease; empty if nobody does."""
    found = tried_kubectl("get", LEASE, IN_SYSTEM, "--output=jsonpath={.spec.holderIdentity}")
    return found.stdout if found.returncode == 0 else ""


def metrics() -> str:
    """What Prometheus would read of the operator that works."""
    return kubectl("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{leader()}:8080/proxy/metrics")


def metric(name: str) -> float:
    """The value of a metric without labels."""
    return value_in(metrics(), name)


def value_in(text: str, name: str) -> float:
    """The value of a metric without labels, in what an operator serves."""
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found, f"there is no metric {name}"
    return float(found[1])


def log() -> str:
    """All that the operators have logged since their pods began."""
    return kubectl("logs", IN_SYSTEM, OPERATORS, "--tail=-1")


def rolled_out() -> None:
    """Returns once the operators are there and ready, those before are gone, and one works."""
    kubectl("rollout", "status", *DEPLOYMENT, "--timeout=120s")
    until(lambda: set(pod_names()) == set(restarts()), "the operators before are gone")
    leader()


@contextmanager
def absent() -> Iterator[None]:
    """The installed operators have gone, until the end; then they work again."""
    replicas = kubectl("get", *DEPLOYMENT, "--output=jsonpath={.spec.replicas}")
    kubectl("scale", *DEPLOYMENT, "--replicas=0")
    try:
        until(lambda: not pod_names(), "the operator's pods are gone")
        yield
    finally:
        kubectl("scale", *DEPLOYMENT, f"--replicas={replicas}")
        if replicas != "0":  # else somebody else has them absent
            rolled_out()
