"""What a decision wants done, as data. Preparations are inert; everything else happens only after it was recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentruns.core.model import Condition
from agentruns.core.naming import LABEL_MANAGED_BY, LABEL_RUN_UID, MANAGER
from agentruns.core.resources import AgentRun, ApprovalState, owner


@dataclass(frozen=True)
class Create:
    """Create this object unless one of its name is there; an answer of any kind becomes part of what is seen."""

    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class WriteClaim:
    """Store the claim of a task: created, or put in the place of the version it names, and of no other."""

    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The ConfigMap's name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def replaces(self) -> bool:
        """Whether there is a claim that this one takes the place of."""
        return "resourceVersion" in self.manifest["metadata"]


def kept(run: AgentRun, name: str, key: str, text: str, labels: Mapping[str, str] | None = None) -> Create:
    """The creation of an immutable ConfigMap that keeps a text under a key, and goes with the run."""
    return Create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": run.metadata.namespace,
                "labels": {LABEL_RUN_UID: run.metadata.uid, LABEL_MANAGED_BY: MANAGER, **(labels or {})},
                "ownerReferences": [owner(run)],
            },
            "immutable": True,
            "data": {key: text},
        }
    )


@dataclass(frozen=True)
class SettleApproval:
    """Record on an Approval what became of it, guarded by the version that was looked at."""

    name: str
    uid: str
    resource_version: str
    state: ApprovalState


@dataclass(frozen=True)
class Ungate:
    """Let the pod of this UID be scheduled; refused for any other UID and for a second time."""

    pod: str
    uid: str


@dataclass(frozen=True)
class StopPod:
    """Have the kubelet end this pod now; pod and log stay."""

    pod: str
    uid: str


@dataclass(frozen=True)
class DeletePod:
    """Delete a pod that has not begun, as it was looked at; refused if it has changed since."""

    pod: str
    uid: str
    resource_version: str


@dataclass(frozen=True)
class ReleasePod:
    """Take this operator's finalizer off a pod whose result is recorded."""

    pod: str
    uid: str


@dataclass(frozen=True)
class CollectPods:
    """Delete all pods of a finished run; people have had the time to read their logs."""


@dataclass(frozen=True)
class DeleteRun:
    """Delete a finished run whose time to live is over."""

    uid: str
    resource_version: str


@dataclass(frozen=True)
class SetConditions:
    """Set these conditions of a run whose status is otherwise left as it is, in the version that was looked at."""

    before: tuple[Condition, ...]
    conditions: tuple[Condition, ...]
    resource_version: str


Preparation = Create | WriteClaim | SettleApproval | DeletePod
Action = Ungate | StopPod | DeletePod | ReleasePod | CollectPods | DeleteRun | SettleApproval | SetConditions
