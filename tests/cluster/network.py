"""The bridge that is the node's address and that pods are plugged into."""

import json
import subprocess
from pathlib import Path

from tests.cluster.console import output
from tests.cluster.places import BRIDGE, DATA, NODE_ADDRESS, POD_RANGE

CNI_PLUGINS = Path("/usr/lib/cni")
CNI_CONFIG = DATA / "cni" / "config"
_NAME = "agentruns-pods"
_HARDWARE_ADDRESS = "02:00:0a:d5:00:01"
"""Without one of its own a bridge takes that of a pod, and another when that one goes: who is just connecting hangs."""
# Written by the CNI library, which has no setting for the place.
_CNI_RESULTS = Path("/var/lib/cni/results")


def make() -> None:
    """Makes the bridge, and tells the container runtime how to plug pods into it."""
    output(["ip", "link", "add", BRIDGE, "address", _HARDWARE_ADDRESS, "type", "bridge"])
    output(["ip", "address", "add", f"{NODE_ADDRESS}/{POD_RANGE.partition('/')[2]}", "dev", BRIDGE])
    output(["ip", "link", "set", BRIDGE, "up"])
    _make_bridged_traffic_visible()
    CNI_CONFIG.mkdir(parents=True)
    (CNI_CONFIG / "10-agentruns.conflist").write_text(json.dumps(_pod_network(), indent=2))


def clear() -> None:
    """Removes the bridge, kube-proxy's rules, and what the CNI library noted about our pods."""
    _try("ip", "link", "delete", BRIDGE)
    for family in ("ip", "ip6"):
        _try("nft", "delete", "table", family, "kube-proxy")
    for container in {result.name.split("-")[-2] for result in _CNI_RESULTS.glob(f"{_NAME}-*")}:
        for result in _CNI_RESULTS.glob(f"*-{container}-*"):
            result.unlink()


def _pod_network() -> dict[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": _NAME,
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_RANGE, "gateway": NODE_ADDRESS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(DATA / "cni" / "addresses"),
                },
            }
        ],
    }


def _make_bridged_traffic_visible() -> None:
    """Lets kube-proxy's rules see what goes from pod to pod over the bridge, so that a service's answers find back."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not switch.exists():
        _try("modprobe", "br_netfilter")
    if switch.exists():
        switch.write_text("1")


def _try(*command: str) -> None:
    """Runs a command that fails where there is nothing to do."""
    try:
        subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pass
