"""The node: kubelet and kube-proxy, and how each is started."""

import json
from typing import Any

from tests.cluster import cgroups, processes
from tests.cluster.certificates import CA, kubeconfig
from tests.cluster.places import (
    BIN,
    CONTAINERD_SOCKET,
    DATA,
    KUBELET_HEALTH_PORT,
    KUBELET_PORT,
    NODE,
    NODE_ADDRESS,
    POD_RANGE,
    PROXY_HEALTH_PORT,
    PROXY_METRICS_PORT,
)

_KUBELET: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": NODE_ADDRESS,
    "port": KUBELET_PORT,
    "healthzPort": KUBELET_HEALTH_PORT,
    "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(CA)}},
    "authorization": {"mode": "Webhook"},
    "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
    "staticPodPath": "",
    "podLogsDir": str(DATA / "pod-logs"),
    # There is no DNS. With no address here every pod would get a Warning event; with this one names fail at once.
    "clusterDNS": [NODE_ADDRESS],
    "clusterDomain": "cluster.local",
    # What a virtual machine without systemd, with cgroup v1 or with fewer capabilities would refuse.
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{cgroups.NAME}",
    "failCgroupV1": False,
    "failSwapOn": False,
    "enforceNodeAllocatable": [],
    "makeIPTablesUtilChains": False,
    "oomScoreAdj": 0,
    # A nearly full disk must neither evict pods nor collect images that no registry has.
    "evictionHard": {},
    "imageGCHighThresholdPercent": 100,
    "maxPods": 250,
    "podPidsLimit": 128,
    "serializeImagePulls": False,
    "kubeAPIQPS": 500,
    "kubeAPIBurst": 1000,
    "eventRecordQPS": 0,
}

_PROXY: dict[str, Any] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "nftables",
    "clientConnection": {"kubeconfig": str(kubeconfig("proxy"))},
    "clusterCIDR": POD_RANGE,
    "conntrack": {"maxPerCore": 0, "min": 0},
    "healthzBindAddress": f"127.0.0.1:{PROXY_HEALTH_PORT}",
    "metricsBindAddress": f"127.0.0.1:{PROXY_METRICS_PORT}",
}


def start_kubelet() -> None:
    """Starts the kubelet, so that it works in small virtual machines and does not slow benchmarks down."""
    config = DATA / "kubelet.json"
    config.write_text(json.dumps(_KUBELET, indent=2))
    processes.start(
        "kubelet",
        [
            BIN / "kubelet",
            f"--config={config}",
            f"--kubeconfig={kubeconfig('kubelet')}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            f"--root-dir={DATA / 'kubelet'}",
            f"--cert-dir={DATA / 'kubelet-certificates'}",
        ],
    )


def start_proxy() -> None:
    """Starts kube-proxy, through which pods reach the API server at its service address."""
    config = DATA / "proxy.json"
    config.write_text(json.dumps(_PROXY, indent=2))
    processes.start("kube-proxy", [BIN / "kube-proxy", f"--config={config}", f"--hostname-override={NODE}"])
