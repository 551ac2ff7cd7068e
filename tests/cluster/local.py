"""A cluster of one node on a Linux machine without Docker, from ordinary parts."""

import os
import sys
from pathlib import Path

from tests.cluster import (
    apiserver,
    certificates,
    cgroups,
    containers,
    control_plane,
    leftovers,
    network,
    node,
    processes,
    toolchain,
)
from tests.cluster.console import ClusterError, output, say
from tests.cluster.places import AUDIT_LOG, CHECKOUT, DATA, KUBECONFIG, LOCAL, OWNER, PORTS, RUN


def up() -> None:
    """Leaves a healthy cluster running: the one that is there, or a new one."""
    _expect_root_on_linux()
    leftovers.expect_no_other_owner()
    toolchain.packages()
    toolchain.kubernetes()
    if is_healthy():
        return
    leftovers.clear()
    processes.expect_free(PORTS)
    _take_the_machine()
    _start()
    _wait_until_ready()


def down() -> None:
    """Stops the cluster and removes all it left; what was built and fetched stays."""
    leftovers.expect_no_other_owner()
    leftovers.clear()


def is_healthy() -> bool:
    """Whether all parts run, the API server is ready, and so is the node."""
    running = processes.recorded()
    all_run = bool(running) and None not in running.values()
    return all_run and KUBECONFIG.exists() and apiserver.is_ready() and apiserver.node_is_ready()


def status() -> str:
    """What runs, in a few lines."""
    parts = [f"  {name}: {f'process {pid}' if pid else 'has ended'}" for name, pid in processes.recorded().items()]
    health = f"Kubernetes {apiserver.version()}" if is_healthy() else "not healthy" if parts else "not up"
    return "\n".join([f"local: {health}", *parts])


def ctr() -> list[str | Path]:
    """The command that speaks to the node's containerd."""
    leftovers.expect_no_other_owner()
    if not is_healthy():
        raise ClusterError("the cluster is not up: python3 -m tests.cluster up")
    return containers.ctr()


def _expect_root_on_linux() -> None:
    if sys.platform != "linux":
        raise ClusterError(
            "without Docker a cluster can only be made on Linux: start Docker, and one is made with kind"
        )
    if os.geteuid() != 0:
        raise ClusterError("without Docker a cluster can only be made as root: start Docker, or run this with sudo")


def _take_the_machine() -> None:
    for folder in (RUN, LOCAL, DATA):
        folder.mkdir(parents=True, exist_ok=True)
    OWNER.write_text(str(CHECKOUT))
    output(["mount", "--bind", LOCAL, DATA])
    output(["mount", "--make-private", DATA])
    AUDIT_LOG.unlink(missing_ok=True)


def _start() -> None:
    say("starting the cluster")
    certificates.make()
    network.make()
    cgroups.make()
    control_plane.start_storage_and_api()
    containers.start()
    containers.load_pause_image()
    processes.wait_until("the API server is ready", apiserver.is_ready, 90)
    say(f"the API server is ready: Kubernetes {apiserver.version()}")
    control_plane.start_controllers_and_scheduler()
    node.start_kubelet()
    node.start_proxy()


def _wait_until_ready() -> None:
    processes.wait_until("the node is Ready", apiserver.node_is_ready, 90)
    processes.wait_until("pods can be made", apiserver.default_account_is_there, 60)
    say("the node is Ready")
