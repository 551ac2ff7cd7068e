"""A cluster that is there already: only the one named by AGENTRUN_TEST_KUBECONFIG, never the current context."""

import os
from pathlib import Path

from tests.cluster import toolchain
from tests.cluster.console import ClusterError, output, say
from tests.cluster.places import KUBECONFIG

VARIABLE = "AGENTRUN_TEST_KUBECONFIG"


def up() -> None:
    """Copies the kubeconfig's current context to the place where tests expect it."""
    named = os.environ.get(VARIABLE, "")
    if not Path(named).is_file():
        raise ClusterError(f"{VARIABLE}={named!r} names no file: set it to the kubeconfig of a cluster for tests")
    view = ["config", "view", "--raw", "--flatten", "--minify"]
    config = output([toolchain.kubectl(), f"--kubeconfig={named}", *view])
    KUBECONFIG.touch(mode=0o600)
    KUBECONFIG.write_text(config)
    status()


def down() -> None:
    """Forgets the cluster; it is not ours to stop."""
    say("the existing cluster stays as it is")
    KUBECONFIG.unlink(missing_ok=True)


def status() -> str:
    """What the cluster says about itself."""
    if not KUBECONFIG.exists():
        return "existing: not up"
    return "existing:\n" + output([toolchain.kubectl(), f"--kubeconfig={KUBECONFIG}", "get", "nodes"])


def ctr() -> list[str | Path]:
    """ClusterError: the nodes of an existing cluster are not ours to put images on."""
    raise ClusterError("images cannot be loaded into an existing cluster: push them to a registry that it can reach")
