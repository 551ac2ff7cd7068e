"""The images under test, by digest: those that were loaded, or on a cluster that was named those that are named too."""

from __future__ import annotations

import json
import os
import re

from tests.cluster.console import ClusterError
from tests.cluster.places import LOADED

SANDBOX = "docker.io/agentruns/sandbox-python:dev"
OPERATOR = "docker.io/agentruns/operator:dev"
# For a cluster that AGENTRUN_TEST_KUBECONFIG names: what it can pull, each as REGISTRY/NAME@sha256:...
SANDBOX_VARIABLE = "AGENTRUN_TEST_SANDBOX_IMAGE"
OPERATOR_VARIABLE = "AGENTRUN_TEST_OPERATOR_IMAGE"


def sandbox_image() -> str:
    """The sandbox image; ClusterError if there is none."""
    return _by_digest(SANDBOX, SANDBOX_VARIABLE)


def operator_image() -> str:
    """The operator's image; ClusterError if there is none."""
    return _by_digest(OPERATOR, OPERATOR_VARIABLE)


def in_parts(image: str) -> dict[str, str]:
    """An image by digest as the chart's values say it."""
    registry, _, path = image.partition("/")
    repository, _, digest = path.partition("@")
    return {"registry": registry, "repository": repository, "digest": digest}


def _by_digest(name: str, variable: str) -> str:
    named = os.environ.get(variable)
    if named is None:
        return _loaded(name, variable)
    if not re.fullmatch(r"[^\s/]+/\S+@sha256:[0-9a-f]{64}", named):
        raise ClusterError(f"{variable}={named!r} is no image by digest: REGISTRY/NAME@sha256:...")
    return named


def _loaded(name: str, variable: str) -> str:
    loaded = json.loads(LOADED.read_text()) if LOADED.exists() else {}
    if name not in loaded:
        raise ClusterError(
            f"{name} is not loaded: make images. On a cluster that you name, push it to where the cluster can pull it, "
            f"and say where: {variable}=REGISTRY/NAME@sha256:..."
        )
    return str(loaded[name])
