"""python3 -m tests.install: the chart on the test cluster, with the images built last, ready to be used."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cluster import existing, toolchain
from tests.cluster.console import ClusterError, Command, run_long, say, until
from tests.cluster.places import CHECKOUT, KUBECONFIG, LOADED, LOGS

NAMESPACE = "agentruns-system"
_VALUES = Path(__file__).with_name("values.yaml")
# Born decided, which is forged whoever makes it.
_FORGED = f"""
apiVersion: agentrun.dev/v1alpha1
kind: Approval
metadata: {{name: forged, namespace: {NAMESPACE}}}
spec:
  runRef: {{name: none, uid: none}}
  step: none
  tool: none
  purpose: Effect
  digest: sha256:{"0" * 64}
  request: {{summary: none}}
  decision: {{verdict: Approve}}
"""


def install() -> None:
    """Installs the chart or upgrades it; returns once its operator is ready and its policies are active."""
    if not KUBECONFIG.exists():
        raise ClusterError("there is no cluster: make cluster")
    helm: Command = [toolchain.helm(), "upgrade", "--install", "agentruns", CHECKOUT / "charts" / "agentruns"]
    where = [f"--kubeconfig={KUBECONFIG}", f"--namespace={NAMESPACE}", "--create-namespace", "--take-ownership"]
    values = [f"--values={_VALUES}", *_operator_image()]
    run_long("installing the chart", [*helm, *where, *values, "--wait", "--timeout=3m"], LOGS / "helm.log")
    until("forged decisions are refused", _forging_is_refused, 60)
    say(f"the chart is installed in namespace {NAMESPACE}, and its policies are active")


def _operator_image() -> list[str]:
    """The operator's image by digest, so that a new build is rolled out; on a named cluster, the one it has."""
    if os.environ.get(existing.VARIABLE):
        return []
    if not LOADED.exists():
        raise ClusterError("no images are loaded: make images")
    by_digest = json.loads(LOADED.read_text())["docker.io/agentruns/operator:dev"]
    return [f"--set=image.digest={by_digest.rpartition('@')[2]}"]


def _forging_is_refused() -> bool:
    create: Command = [toolchain.kubectl(), f"--kubeconfig={KUBECONFIG}", "create", "--dry-run=server", "--filename=-"]
    answer = subprocess.run(create, input=_FORGED.encode(), capture_output=True, check=False)
    return b"ValidatingAdmissionPolicy" in answer.stderr


if __name__ == "__main__":
    try:
        install()
    except ClusterError as error:
        sys.exit(f"error: {error}")
