"""kubectl and helm on the cluster under test, as a person at a terminal calls them."""

from __future__ import annotations

import subprocess

from tests.cluster import toolchain
from tests.cluster.console import ClusterError
from tests.cluster.places import KUBECONFIG

Done = subprocess.CompletedProcess[str]


def kubectl_command(*args: str) -> list[str]:
    """The command that calls kubectl."""
    return [str(toolchain.kubectl()), f"--kubeconfig={KUBECONFIG}", *args]


def helm_command(*args: str) -> list[str]:
    """The command that calls helm."""
    return [str(toolchain.helm()), f"--kubeconfig={KUBECONFIG}", *args]


def kubectl(*args: str, stdin: str = "") -> str:
    """What kubectl prints; ClusterError with its complaint if it fails."""
    return _said(tried_kubectl(*args, stdin=stdin))


def helm(*args: str, stdin: str = "") -> str:
    """What helm prints; ClusterError with its complaint if it fails."""
    return _said(_tried(helm_command(*args), stdin))


def tried_kubectl(*args: str, stdin: str = "") -> Done:
    """How a call of kubectl ended, whether it failed or not."""
    return _tried(kubectl_command(*args), stdin)


def tried_helm(*args: str, stdin: str = "") -> Done:
    """How a call of helm ended, whether it failed or not."""
    return _tried(helm_command(*args), stdin)


def _tried(command: list[str], stdin: str) -> Done:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def _said(done: Done) -> str:
    if done.returncode:
        raise ClusterError(f"`{' '.join(done.args)}` failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout
