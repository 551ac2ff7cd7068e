"""What an installation may set: one file, rendered by the chart, read once at the start."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from agentruns.core.model import Duration
from agentruns.core.observed import SandboxSettings

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class _Section(BaseModel):
    """A part of the settings; a misspelt key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Approvals(_Section):
    identity: Literal["Stamped", "Claimed"] = "Stamped"


class Sandbox(_Section):
    env: tuple[dict[str, Any], ...] = ()
    ca_bundle_config_map: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class_name: str = ""

    def seen(self) -> SandboxSettings:
        """The same as decisions read it."""
        return SandboxSettings(**dict(self))


class Settings(_Section):
    """Everything an installation may set."""

    watch_namespaces: tuple[str, ...] = ()
    approvals: Approvals = Approvals()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    pod_retention: Duration = timedelta(hours=1)
    sandbox: Sandbox = Sandbox()
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
