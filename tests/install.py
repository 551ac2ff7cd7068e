"""python3 -m tests.install: the chart on the test cluster, with the images built last, ready to be used."""

import json
import sys
from pathlib import Path

from tests.cluster.console import ClusterError, run_long, say
from tests.cluster.places import KUBECONFIG, LOGS
from tests.commands import helm_command, tried_kubectl
from tests.images import in_parts, operator_image, sandbox_image
from tests.installed import SYSTEM, rolled_out
from tests.release import UPGRADE, alone
from tests.waiting import until

VALUES = Path(__file__).with_name("values.yaml")
# Born decided, which is forged whoever makes it.
_FORGED = f"""
apiVersion: agentrun.dev/v1alpha1
kind: Approval
metadata: {{name: forged, namespace: {SYSTEM}}}
spec:
  runRef: {{name: none, uid: none}}
  step: none
  tool: none
  purpose: Effect
  digest: sha256:{"0" * 64}
  request: {{summary: none}}
  decision: {{verdict: Approve}}
"""
_RUN = f"""
apiVersion: agentrun.dev/v1alpha1
kind: AgentRun
metadata: {{name: none, namespace: {SYSTEM}}}
spec: {{steps: [{{name: none, tool: none}}]}}
"""


def install() -> None:
    """Installs the chart or upgrades it; returns once its operator works and its policies are active."""
    if not KUBECONFIG.exists():
        raise ClusterError("there is no cluster: make cluster")
    # By digest, so that a new build is rolled out.
    images = {"image": operator_image(), "tests.image": sandbox_image()}
    chosen = [f"--set-json={value}={json.dumps(in_parts(image))}" for value, image in images.items()]
    run_long("installing the chart", helm_command(*UPGRADE, f"--values={VALUES}", *chosen), LOGS / "helm.log")
    rolled_out()
    until(_forging_is_refused, "forged decisions are refused", 60)
    until(_requesters_are_stamped, "runs are taken, and their requesters stamped", 60)
    say(f"the chart is installed in namespace {SYSTEM}, and its policies are active")


def _forging_is_refused() -> bool:
    answer = tried_kubectl("create", "--dry-run=server", "--filename=-", stdin=_FORGED)
    return "ValidatingAdmissionPolicy" in answer.stderr


def _requesters_are_stamped() -> bool:
    """The API server takes some seconds to know a new kind where it changes objects, and refuses them until then."""
    answer = tried_kubectl("create", "--dry-run=server", "--output=json", "--filename=-", stdin=_RUN)
    return "requestedBy" in answer.stdout


if __name__ == "__main__":
    try:
        with alone():
            install()
    except ClusterError as error:
        sys.exit(f"error: {error}")
