"""etcd, the API server, the controllers and the scheduler: how each is started."""

import base64
import json
import ssl
import urllib.request
from typing import Any

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

_API = "kube-apiserver"
_ETCD_URL = f"https://127.0.0.1:{ETCD_PORT}"
_ETCD_PEER_URL = f"https://127.0.0.1:{ETCD_PEER_PORT}"

# With fsync, as it is by default, and only for holders of the cluster's certificates.
_ETCD = [
    f"--name={NODE}",
    f"--data-dir={DATA / 'etcd'}",
    f"--listen-client-urls={_ETCD_URL}",
    f"--advertise-client-urls={_ETCD_URL}",
    "--client-cert-auth",
    f"--trusted-ca-file={CA}",
    f"--cert-file={certificate('server')}",
    f"--key-file={key('server')}",
    f"--initial-cluster={NODE}={_ETCD_PEER_URL}",
    f"--initial-advertise-peer-urls={_ETCD_PEER_URL}",
    f"--listen-peer-urls={_ETCD_PEER_URL}",
    "--peer-client-cert-auth",
    f"--peer-trusted-ca-file={CA}",
    f"--peer-cert-file={certificate('server')}",
    f"--peer-key-file={key('server')}",
]

_AUDIT_POLICY_FILE = DATA / "audit-policy.json"
_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
_READS = ["get", "list", "watch"]
# Every write, and every read of a service account: who wrote how often, and did the operator ever read a secret?
_AUDIT_POLICY: dict[str, Any] = {
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

_API_SERVER = [
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
    f"--audit-policy-file={_AUDIT_POLICY_FILE}",
    f"--audit-log-path={AUDIT_LOG}",
    "--audit-log-maxsize=500",
    # Benchmarks are to measure the operator, not the limits of its neighbours; so below, too.
    "--max-requests-inflight=2000",
    "--max-mutating-requests-inflight=1000",
]

_CONTROLLERS = [
    f"--kubeconfig={kubeconfig('controller-manager')}",
    f"--authentication-kubeconfig={kubeconfig('controller-manager')}",
    f"--authorization-kubeconfig={kubeconfig('controller-manager')}",
    "--bind-address=127.0.0.1",
    f"--secure-port={CONTROLLERS_PORT}",
    "--use-service-account-credentials",
    f"--service-account-private-key-file={SERVICE_ACCOUNT_KEY}",
    f"--root-ca-file={CA}",
    "--leader-elect=false",
    "--kube-api-qps=500",
    "--kube-api-burst=1000",
]

_SCHEDULER_CONFIG_FILE = DATA / "scheduler.json"
_SCHEDULER_CONFIG: dict[str, Any] = {
    "apiVersion": "kubescheduler.config.k8s.io/v1",
    "kind": "KubeSchedulerConfiguration",
    "leaderElection": {"leaderElect": False},
    "clientConnection": {"kubeconfig": str(kubeconfig("scheduler")), "qps": 500, "burst": 1000},
}
_SCHEDULER = [
    f"--config={_SCHEDULER_CONFIG_FILE}",
    f"--authentication-kubeconfig={kubeconfig('scheduler')}",
    f"--authorization-kubeconfig={kubeconfig('scheduler')}",
    "--bind-address=127.0.0.1",
    f"--secure-port={SCHEDULER_PORT}",
]


def start_storage_and_api() -> None:
    """Starts etcd and the API server, which waits for it."""
    _AUDIT_POLICY_FILE.write_text(json.dumps(_AUDIT_POLICY))
    processes.start("etcd", [BIN / "etcd", *_ETCD])
    start_api()


def start_api() -> None:
    """Starts the API server."""
    processes.start(_API, [BIN / "kube-apiserver", *_API_SERVER])


def stop_api() -> None:
    """Stops the API server, whose record stays: until it is started again, it has ended."""
    pid = processes.recorded()[_API]
    assert pid is not None, f"{_API} has ended by itself"
    processes.stop([pid])


def set_storage_full(full: bool) -> None:
    """Has etcd take nothing more, as if its quota were used up, or take writes again."""
    _answer_of_etcd("maintenance/alarm", {"action": "ACTIVATE" if full else "DEACTIVATE", "alarm": "NOSPACE"})


def stored(place: str) -> bytes:
    """An object as it is in the cluster's store, at `/registry/...`."""
    [found] = _answer_of_etcd("kv/range", {"key": base64.b64encode(place.encode()).decode()})["kvs"]
    return base64.b64decode(found["value"])


def _answer_of_etcd(path: str, body: dict[str, str]) -> Any:
    context = ssl.create_default_context(cafile=str(CA))
    context.load_cert_chain(certificate("admin"), key("admin"))
    with urllib.request.urlopen(f"{_ETCD_URL}/v3/{path}", json.dumps(body).encode(), timeout=10, context=context) as it:
        return json.load(it)


def start_controllers_and_scheduler() -> None:
    """Starts the controllers, each with a service account of its own, and the scheduler."""
    _SCHEDULER_CONFIG_FILE.write_text(json.dumps(_SCHEDULER_CONFIG))
    processes.start("kube-controller-manager", [BIN / "kube-controller-manager", *_CONTROLLERS])
    processes.start("kube-scheduler", [BIN / "kube-scheduler", *_SCHEDULER])
