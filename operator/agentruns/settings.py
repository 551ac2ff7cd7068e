"""What an installation may set: one file, rendered by the chart, read once at the start."""

import os
import secrets
import socket
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from agentruns.core.model import Duration, Strict
from agentruns.core.observed import SandboxSettings

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Limits(Strict):
    """How much may be under way at once; 0 is no limit."""

    active_pods: int = Field(0, ge=0)
    active_pods_per_namespace: int = Field(0, ge=0)


class Settings(Strict):
    """Everything an installation may set."""

    watch_namespaces: tuple[str, ...] = ()
    leader_election: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    pod_retention: Duration = timedelta(hours=1)
    claim_retention: Duration = timedelta(hours=720)
    limits: Limits = Limits()
    sandbox: SandboxSettings = SandboxSettings()
    metrics_port: int = 8080
    health_port: int = 8081

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """The settings of a file; the defaults without one. A ValidationError names the key that is wrong."""
        return cls() if path is None else cls.model_validate_json(path.read_bytes())


def own_namespace() -> str:
    """The namespace this operator runs in; `default` outside a cluster."""
    if named := os.environ.get("POD_NAMESPACE"):
        return named
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"


def own_identity() -> str:
    """The pod this operator runs in, the same after a restart of its container; a new name outside a cluster."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{secrets.token_hex(4)}"
