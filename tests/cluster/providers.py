"""Where a cluster comes from: an existing one, kind, or parts of this machine."""

import os
from pathlib import Path
from typing import Protocol

from tests.cluster import existing, kind, local
from tests.cluster.builders import docker_answers
from tests.cluster.console import ClusterError
from tests.cluster.places import CLUSTER

_REMEMBERED = CLUSTER / "provider"


class Provider(Protocol):
    """What each of the modules `existing`, `kind` and `local` can do."""

    __name__: str

    def up(self) -> None:
        """Leaves a healthy cluster running, and its kubeconfig in its place."""

    def down(self) -> None:
        """Takes away what `up` made."""

    def status(self) -> str:
        """What runs, in a few lines."""

    def ctr(self) -> list[str | Path]:
        """The command that speaks to the node's containerd."""


_PROVIDERS: dict[str, Provider] = {"existing": existing, "kind": kind, "local": local}


def chosen() -> Provider:
    """The provider that the user asks for, or that made the cluster that is up, or that suits this machine."""
    return _PROVIDERS[_name()]


def remember(provider: Provider) -> None:
    """Notes who made the cluster that is up."""
    _REMEMBERED.write_text(provider.__name__.rpartition(".")[2])


def forget() -> None:
    """Notes that no cluster is up."""
    _REMEMBERED.unlink(missing_ok=True)


def _name() -> str:
    up = _REMEMBERED.read_text() if _REMEMBERED.exists() else None
    wanted = os.environ.get("AGENTRUN_CLUSTER") or ("existing" if os.environ.get(existing.VARIABLE) else None)
    if wanted and wanted not in _PROVIDERS:
        raise ClusterError(f"AGENTRUN_CLUSTER={wanted}: expected one of {', '.join(_PROVIDERS)}")
    if wanted and up and wanted != up:
        raise ClusterError(f"a cluster from {up} is up: take it down first, with the variables unset: `make down`")
    return wanted or up or ("kind" if docker_answers() else "local")
