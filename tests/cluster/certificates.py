"""The cluster's certificate authority, the certificates it signs, and kubeconfigs made of them."""

import base64
import json
from pathlib import Path
from typing import Any

from tests.cluster.console import output
from tests.cluster.places import API_SERVICE_ADDRESS, API_URL, DATA, KUBECONFIG, NODE, NODE_ADDRESS

CERTIFICATES = DATA / "certificates"
CA = CERTIFICATES / "ca.crt"
_REQUEST = CERTIFICATES / "openssl.cnf"
SERVICE_ACCOUNT_KEY = CERTIFICATES / "service-accounts.key"

_EXTENSIONS = f"""
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, DNS:kubernetes, DNS:kubernetes.default, DNS:kubernetes.default.svc, \
  IP:127.0.0.1, IP:{NODE_ADDRESS}, IP:{API_SERVICE_ADDRESS}
"""
# Who is who for the API server: the common name is the user, the organisation the group.
_IDENTITIES = {
    "server": "/CN=kubernetes",
    "admin": "/O=system:masters/CN=agentruns-admin",
    "kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE}",
}


def make() -> None:
    """Makes every key and certificate, and the kubeconfigs of the cluster's parts and of its administrator."""
    CERTIFICATES.mkdir(mode=0o700)
    _REQUEST.write_text(_EXTENSIONS)
    _certificate("ca", "/CN=agentruns-test-cluster", "authority")
    for name, subject in _IDENTITIES.items():
        _certificate(name, subject, "server" if name == "server" else "client", "-CA", CA, "-CAkey", key("ca"))
    output(["openssl", "genrsa", "-out", SERVICE_ACCOUNT_KEY, "2048"])
    for name in ("controller-manager", "scheduler", "proxy", "kubelet"):
        _write_private(kubeconfig(name), _kubeconfig(name))
    _write_private(KUBECONFIG, _kubeconfig("admin"))


def certificate(name: str) -> Path:
    """The certificate of one of the identities."""
    return CERTIFICATES / f"{name}.crt"


def key(name: str) -> Path:
    """The private key of one of the identities."""
    return CERTIFICATES / f"{name}.key"


def kubeconfig(name: str) -> Path:
    """The kubeconfig of one of the cluster's parts."""
    return CERTIFICATES / f"{name}.kubeconfig"


def _certificate(name: str, subject: str, extensions: str, *signed_by: str | Path) -> None:
    request = ("openssl", "req", "-x509", "-config", _REQUEST, "-extensions", extensions, "-subj", subject)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key(name))
    output([*request, *new_key, *signed_by, "-out", certificate(name), "-days", "3650"])


def _kubeconfig(name: str) -> str:
    user = {"client-certificate-data": _encoded(certificate(name)), "client-key-data": _encoded(key(name))}
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NODE, "cluster": {"server": API_URL, "certificate-authority-data": _encoded(CA)}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": NODE, "context": {"cluster": NODE, "user": name}}],
        "current-context": NODE,
    }
    return json.dumps(config, indent=2)


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(text)
