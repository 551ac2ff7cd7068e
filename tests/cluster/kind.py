"""A cluster of one node in a container, made by kind, where Docker is there."""

import json
import os
from pathlib import Path

from tests.cluster import toolchain
from tests.cluster.console import ClusterError, output, run_long
from tests.cluster.places import KUBECONFIG, LOADED, LOGS

IMAGE_VARIABLE = "AGENTRUN_KIND_IMAGE"
_NAME = "agentruns"
_CONFIG = Path(__file__).with_name("kind.yaml")
_NEEDED = (1, 36)


def up() -> None:
    """Creates the cluster unless it is there, and checks its version."""
    if _NAME in output([toolchain.kind(), "get", "clusters"]).split():
        output([toolchain.kind(), "export", "kubeconfig", *_which()])
    else:
        run_long("creating the kind cluster", creation(os.environ.get(IMAGE_VARIABLE)), LOGS / "kind.log")
    KUBECONFIG.chmod(0o600)
    expect_new_enough(json.loads(_kubectl("version", "--output=json"))["serverVersion"])


def down() -> None:
    """Deletes the cluster."""
    output([toolchain.kind(), "delete", "cluster", *_which()])
    for file in (KUBECONFIG, LOADED):
        file.unlink(missing_ok=True)


def status() -> str:
    """What the cluster says about itself."""
    return "kind:\n" + _kubectl("get", "nodes") if KUBECONFIG.exists() else "kind: not up"


def ctr() -> list[str | Path]:
    """The command that speaks to the node's containerd."""
    return ["docker", "exec", "--interactive", f"{_NAME}-control-plane", "ctr", "--namespace", "k8s.io"]


def creation(image: str | None) -> list[str | Path]:
    """The command that creates the cluster, with kind's own node image unless one is named."""
    named = [f"--image={image}"] if image else []
    return [toolchain.kind(), "create", "cluster", *_which(), f"--config={_CONFIG}", "--wait=120s", *named]


def expect_new_enough(server: dict[str, str]) -> None:
    """ClusterError if the API server lacks MutatingAdmissionPolicy, by which decisions are stamped."""
    version = (int(server["major"]), int(server["minor"].rstrip("+")))
    if version < _NEEDED:
        raise ClusterError(
            f"kind made a cluster of Kubernetes {server['gitVersion']}, and 1.36 or newer is needed. "
            f"`make down`, then take kind v0.33 or newer, or name a node image: {IMAGE_VARIABLE}=kindest/node:v1.36.x"
        )


def _which() -> list[str | Path]:
    return [f"--name={_NAME}", f"--kubeconfig={KUBECONFIG}"]


def _kubectl(*arguments: str) -> str:
    return output([toolchain.kubectl(), f"--kubeconfig={KUBECONFIG}", *arguments])
