"""etcd, the API server, the controllers and the scheduler: how each is started."""

import json

from tests.cluster import processes
from tests.cluster.certificates import CA, SERVICE_ACCOUNT_KEY, certificate, key, kubeconfig
from tests.cluster.places import (
    API_PORT,
    AUDIT_LOG,
    BIN,
    CONTROLLERS_PORT,
    DATA,
    ETCD_PEER_PORT,
    ETCD_PORT,
    NODE,
    NODE_ADDRESS,
    SCHEDULER_PORT,
    SERVICE_RANGE,
)

_ETCD_URL = f"https://127.0.0.1:{ETCD_PORT}"
_ETCD_PEER_URL = f"https://127.0.0.1:{ETCD_PEER_PORT}"
_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
_READS = ["get", "list", "watch"]

# Every write, and every read of a service account: who wrote how often, and did the operator ever read a secret?
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "resources": [{"group": "coordination.k8s.io"}], "userGroups": ["system:nodes"]},
        {"level": "None", "verbs": _READS, "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "Metadata", "verbs": _WRITES},
        {"level": "None"},
    ],
}


def start_etcd() -> None:
    """Starts etcd, with fsync as it is by default, for holders of the cluster's certificates only."""
    trust = [f"--trusted-ca-file={CA}", f"--cert-file={certificate('server')}", f"--key-file={key('server')}"]
    peers = [flag.replace("--", "--peer-", 1) for flag in trust]
    processes.start(
        "etcd",
        [
            BIN / "etcd",
            f"--name={NODE}",
            f"--data-dir={DATA / 'etcd'}",
            f"--listen-client-urls={_ETCD_URL}",
            f"--advertise-client-urls={_ETCD_URL}",
            f"--listen-peer-urls={_ETCD_PEER_URL}",
            f"--initial-advertise-peer-urls={_ETCD_PEER_URL}",
            f"--initial-cluster={NODE}={_ETCD_PEER_URL}",
            *trust,
            "--client-cert-auth",
            *peers,
            "--peer-client-cert-auth",
        ],
    )


def start_api_server() -> None:
    """Starts the API server on the node's address, with an audit log and room for benchmarks."""
    policy = DATA / "audit-policy.json"
    policy.write_text(json.dumps(_AUDIT_POLICY))
    processes.start(
        "kube-apiserver",
        [
            BIN / "kube-apiserver",
            f"--etcd-servers={_ETCD_URL}",
            f"--etcd-cafile={CA}",
            f"--etcd-certfile={certificate('admin')}",
            f"--etcd-keyfile={key('admin')}",
            f"--bind-address={NODE_ADDRESS}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={certificate('server')}",
            f"--tls-private-key-file={key('server')}",
            f"--client-ca-file={CA}",
            "--anonymous-auth=false",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={SERVICE_ACCOUNT_KEY}",
            f"--service-account-signing-key-file={SERVICE_ACCOUNT_KEY}",
            f"--kubelet-client-certificate={certificate('kubelet-client')}",
            f"--kubelet-client-key={key('kubelet-client')}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={AUDIT_LOG}",
            "--audit-log-maxsize=500",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
        ],
    )


def start_controllers() -> None:
    """Starts the controllers, each with a service account of its own."""
    config = kubeconfig("controller-manager")
    processes.start(
        "kube-controller-manager",
        [
            BIN / "kube-controller-manager",
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={CONTROLLERS_PORT}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={SERVICE_ACCOUNT_KEY}",
            f"--root-ca-file={CA}",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ],
    )


def start_scheduler() -> None:
    """Starts the scheduler."""
    config = kubeconfig("scheduler")
    settings = DATA / "scheduler.json"
    settings.write_text(
        json.dumps(
            {
                "apiVersion": "kubescheduler.config.k8s.io/v1",
                "kind": "KubeSchedulerConfiguration",
                "leaderElection": {"leaderElect": False},
                "clientConnection": {"kubeconfig": str(config), "qps": 500, "burst": 1000},
            }
        )
    )
    processes.start(
        "kube-scheduler",
        [
            BIN / "kube-scheduler",
            f"--config={settings}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={SCHEDULER_PORT}",
        ],
    )
